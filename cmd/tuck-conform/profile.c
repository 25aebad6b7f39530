// SPDX-License-Identifier: MIT
#include "cmd/tuck-conform/profile.h"
#include "cmd/tuck-conform/value.h"

#include <errno.h>
#include <ini.h>

static const char *const names[PROFILE_MAX] = {
#define X(name, help) #name,
    PROFILE_KEYS(X)
#undef X
};

enum profile_key profile_key_of(const char *name) {
    enum profile_key key = 0;
    while (key < PROFILE_MAX && strcmp(names[key], name) != 0)
        key++;
    return key;
}

static int take(void *arg, const char *section, const char *name, const char *value) {
    struct profile *profile = arg;
    enum profile_key key = profile_key_of(name);
    if (*section || key == PROFILE_MAX || !value || !*value)
        return 0;
    for (size_t i = 0; i < PROFILE_VALUES; i++) {
        if (!profile->value[key][i]) {
            profile->value[key][i] = need_strndup(value, strlen(value));
            return 1;
        }
    }
    return 0;
}

// The file itself, then those of the installation and of the build tree.
static FILE *open_profile(const char *name, struct buf *path) {
    FILE *file = fopen(name, "re");
    buf_text(path, name);
    if (file || strchr(name, '/'))
        return file;
    const char *const folders[] = {getenv("TUCK_CONFORM_PROFILES"), TUCK_CONFORM_DATA "/profiles"};
    for (size_t i = 0; i < TUCK_ARRAY_LEN(folders) && !file; i++) {
        if (!folders[i])
            continue;
        path->len = 0;
        buf_format(path, "%s/%s.profile", folders[i], name);
        file = fopen(path->data, "re");
    }
    return file;
}

int profile_read(struct profile *profile, const char *name, struct tuck_error *err) {
    struct buf path = {0};
    FILE *file = open_profile(name, &path);
    int result = 0;
    if (!file)
        result = tuck_fail_os(err, errno, "profile '%s'", name);
    if (file) {
        int line = ini_parse_file(file, take, profile);
        if (line != 0)
            result = tuck_fail(err, TUCK_EINVAL,
                               "%s:%d: not of the form key = value with a key of a profile",
                               path.data, line);
        (void)fclose(file);
    }
    buf_free(&path);
    return result;
}
