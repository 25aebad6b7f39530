// SPDX-License-Identifier: MIT
#include "lib/base/error.h"

#include <errno.h>
#include <stdarg.h>

static enum tuck_err code_of(int os) {
    switch (os) {
    case ENOMEM:
        return TUCK_ENOMEM;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EMFILE:
    case ENFILE:
    case EMLINK:
        return TUCK_ENOSPACE;
    case EACCES:
    case EPERM:
    case EROFS:
        return TUCK_EACCESS;
    default:
        return TUCK_EIO;
    }
}

int tuck_fail(struct tuck_error *err, enum tuck_err code, const char *format, ...) {
    if (err) {
        va_list args;
        va_start(args, format);
        (void)vsnprintf(err->text, sizeof(err->text), format, args);
        va_end(args);
        err->code = code;
        err->os = 0;
    }
    return code;
}

int tuck_fail_os(struct tuck_error *err, int os, const char *format, ...) {
    enum tuck_err code = code_of(os);
    if (err) {
        va_list args;
        va_start(args, format);
        int used = vsnprintf(err->text, sizeof(err->text), format, args);
        va_end(args);
        if (used >= 0 && (size_t)used < sizeof(err->text))
            (void)snprintf(err->text + used, sizeof(err->text) - (size_t)used, ": %s",
                           strerror(os));
        err->code = code;
        err->os = os;
    }
    return code;
}

void tuck_verify_failed(const char *what, const char *file, int line) {
    fprintf(stderr, "tuck: bug: '%s' does not hold at %s:%d; please report it\n", what, file, line);
    abort();
}
