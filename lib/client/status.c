// SPDX-License-Identifier: MIT
#include "lib/client/status.h"

#include <stdarg.h>

__attribute__((format(printf, 4, 0))) static void fill(struct tuck_client_error *error,
                                                       enum tuck_client_status code, int os,
                                                       const char *format, va_list args) {
    int used = vsnprintf(error->text, sizeof(error->text), format, args);
    error->code = code;
    error->os = os;
    if (os == 0 || used < 0 || (size_t)used >= sizeof(error->text))
        return;
    char reason[128];
    (void)snprintf(error->text + used, sizeof(error->text) - (size_t)used, ": %s",
                   strerror_r(os, reason, sizeof(reason)));
}

int tuck_client__fail(struct tuck_client_error *error, enum tuck_client_status code,
                      const char *format, ...) {
    if (error) {
        va_list args;
        va_start(args, format);
        fill(error, code, 0, format, args);
        va_end(args);
    }
    return code;
}

int tuck_client__fail_os(struct tuck_client_error *error, enum tuck_client_status code, int os,
                         const char *format, ...) {
    if (error) {
        va_list args;
        va_start(args, format);
        fill(error, code, os, format, args);
        va_end(args);
    }
    return code;
}

// The length of the well-formed character there, 0 if there is none.
static size_t character_len(const uint8_t *at, size_t left) {
    static const struct {
        uint8_t first, last, low, high, len;
    } forms[] = {
        {0x00, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4}};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(forms); i++) {
        if (at[0] < forms[i].first || at[0] > forms[i].last)
            continue;
        if (forms[i].len > left ||
            (left > 1 && forms[i].len > 1 && (at[1] < forms[i].low || at[1] > forms[i].high)))
            return 0;
        for (size_t j = 2; j < forms[i].len; j++)
            if (at[j] < 0x80 || at[j] > 0xbf)
                return 0;
        return forms[i].len;
    }
    return 0;
}

const char *tuck_client__printable(const void *text, size_t len, char *ret_text, size_t room) {
    const uint8_t *at = text, *end = at + len;
    size_t used = 0;
    while (at < end) {
        size_t step = character_len(at, (size_t)(end - at));
        // C0, DEL and C1 act on terminals.
        bool is_control =
            step == 1 ? *at < 0x20 || *at == 0x7f : step == 2 && at[0] == 0xc2 && at[1] < 0xa0;
        bool is_kept = step > 0 && !is_control;
        size_t need = is_kept ? step : 1;
        if (used + need + 1 > room)
            break;
        if (is_kept)
            memcpy(ret_text + used, at, step);
        else
            ret_text[used] = '?';
        used += need;
        at += step ? step : 1;
    }
    ret_text[used] = '\0';
    return ret_text;
}

const char *tuck_client_status_name(int status) {
    switch ((enum tuck_client_status)status) {
#define NAME(status)                                                                               \
    case status:                                                                                   \
        return #status
        NAME(TUCK_CLIENT_OK);
        NAME(TUCK_CLIENT_MISS);
        NAME(TUCK_CLIENT_NOT_STORED);
        NAME(TUCK_CLIENT_FULL);
        NAME(TUCK_CLIENT_FORCED);
        NAME(TUCK_CLIENT_ENDED);
        NAME(TUCK_CLIENT_NO_MEMORY);
        NAME(TUCK_CLIENT_SYSTEM);
        NAME(TUCK_CLIENT_USAGE);
        NAME(TUCK_CLIENT_CLOSED);
        NAME(TUCK_CLIENT_CANCELED);
        NAME(TUCK_CLIENT_TIMEOUT);
        NAME(TUCK_CLIENT_BAD_BODY);
        NAME(TUCK_CLIENT_BROKEN_OFF);
        NAME(TUCK_CLIENT_NO_START);
        NAME(TUCK_CLIENT_NO_HANDSHAKE);
        NAME(TUCK_CLIENT_BAD_HANDSHAKE);
        NAME(TUCK_CLIENT_EXITED);
        NAME(TUCK_CLIENT_STDOUT_ENDED);
        NAME(TUCK_CLIENT_STDIN_ENDED);
        NAME(TUCK_CLIENT_UNANSWERED);
        NAME(TUCK_CLIENT_NOT_JSON);
        NAME(TUCK_CLIENT_TRUNCATED);
        NAME(TUCK_CLIENT_TOO_LONG);
        NAME(TUCK_CLIENT_UNKNOWN_ID);
        NAME(TUCK_CLIENT_ANSWERED_TWICE);
        NAME(TUCK_CLIENT_HANDSHAKE_AGAIN);
        NAME(TUCK_CLIENT_UNASKED);
        NAME(TUCK_CLIENT_REFUSED);
        NAME(TUCK_CLIENT_BAD_FIELD);
        NAME(TUCK_CLIENT_NO_PATH);
        NAME(TUCK_CLIENT_BAD_PATH);
        NAME(TUCK_CLIENT_BAD_FILE);
        NAME(TUCK_CLIENT_WRONG_BYTES);
#undef NAME
    }
    return "unknown";
}

const char *tuck_client_version(void) {
    return TUCK_VERSION;
}
