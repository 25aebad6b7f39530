// SPDX-License-Identifier: MIT
#include "lib/client/words.h"
#include "lib/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

// Takes the next word off *at. 0 with a word, 1 at the end, below 0 when its quote has no end.
static int next_word(const char **at, const char **ret_word, size_t *ret_len,
                     struct tuck_client_error *error) {
    const char *begin = *at;
    while (is_blank(*begin))
        begin++;
    if (*begin == '\0')
        return 1;
    const char *end = begin;
    if (*begin == '"' || *begin == '\'') {
        begin++;
        end = strchr(begin, begin[-1]);
        if (!end)
            return tuck_client__fail(error, TUCK_CLIENT_NO_START,
                                     "the command line has an unterminated %c string", begin[-1]);
        *at = end + 1; // the next word may begin right there
    } else {
        while (*end && !is_blank(*end))
            end++;
        *at = end;
    }
    *ret_word = begin;
    *ret_len = (size_t)(end - begin);
    return 0;
}

// One block: the pointers, then the texts.
static char **new_words(size_t count, size_t chars, char **ret_text,
                        struct tuck_client_error *error) {
    if (chars > SIZE_MAX / 4 || count > SIZE_MAX / 4 / sizeof(char *)) {
        (void)tuck_client__fail(error, TUCK_CLIENT_USAGE, "the command line is too long");
        return NULL;
    }
    char **words = malloc((count + 1) * sizeof(*words) + chars);
    if (!words) {
        (void)tuck_client__fail(error, TUCK_CLIENT_NO_MEMORY, "no memory for a command line");
        return NULL;
    }
    words[count] = NULL;
    *ret_text = (char *)(words + count + 1);
    return words;
}

int tuck_words_split(const char *text, char ***ret_words, struct tuck_client_error *error) {
    const char *at = text, *word = NULL;
    size_t count = 0, chars = 0, len = 0;
    int status;
    while ((status = next_word(&at, &word, &len, error)) == 0) {
        count++;
        chars += len + 1;
    }
    if (status < 0)
        return status;
    char *to;
    char **words = new_words(count, chars, &to, error);
    if (!words)
        return TUCK_CLIENT_NO_MEMORY;
    at = text;
    for (size_t i = 0; next_word(&at, &word, &len, NULL) == 0; i++) {
        words[i] = to;
        memcpy(to, word, len);
        to[len] = '\0';
        to += len + 1;
    }
    *ret_words = words;
    return 0;
}

int tuck_words_copy(const char *const *words, char ***ret_words, struct tuck_client_error *error) {
    size_t count = 0, chars = 0;
    for (; words[count]; count++)
        chars += strlen(words[count]) + 1;
    char *to;
    char **copy = new_words(count, chars, &to, error);
    if (!copy)
        return TUCK_CLIENT_NO_MEMORY;
    for (size_t i = 0; i < count; i++) {
        size_t len = strlen(words[i]) + 1;
        copy[i] = memcpy(to, words[i], len);
        to += len;
    }
    *ret_words = copy;
    return 0;
}

// 0, or the errno that says why not.
static int check_executable(const char *path) {
    struct stat stat_of;
    if (stat(path, &stat_of) < 0)
        return errno;
    if (S_ISDIR(stat_of.st_mode))
        return EISDIR;
    return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0 ? errno : 0;
}

static int take_path(char *path, char **ret_path, struct tuck_client_error *error) {
    if (!path)
        return tuck_client__fail(error, TUCK_CLIENT_NO_MEMORY, "no memory for a path");
    *ret_path = path;
    return 0;
}

int tuck_words_find_program(const char *name, char **ret_path, struct tuck_client_error *error) {
    if (!*name)
        return tuck_client__fail(error, TUCK_CLIENT_NO_START,
                                 "cannot start the helper '': the command names no program");
    char printable[300];
    (void)tuck_client__printable(name, strlen(name), printable, sizeof(printable));
    if (strchr(name, '/')) {
        int os = check_executable(name);
        if (os)
            return tuck_client__fail_os(error, TUCK_CLIENT_NO_START, os,
                                        "cannot start the helper '%s'", printable);
        return take_path(strdup(name), ret_path, error);
    }
    const char *list = getenv("PATH"), *end;
    for (const char *at = list ? list : ""; list; at = end + 1) {
        end = strchrnul(at, ':');
        int len = (int)(end - at);
        TUCK_CLEANUP(tuck_free) char *path = NULL;
        // An empty entry means the current directory.
        if (asprintf(&path, "%.*s/%s", len ? len : 1, len ? at : ".", name) < 0) {
            path = NULL;
            return take_path(NULL, ret_path, error);
        }
        if (check_executable(path) == 0) {
            if (*path == '/')
                return take_path(TUCK_TAKE(path), ret_path, error);
            return tuck_client__fail(error, TUCK_CLIENT_NO_START,
                                     "will not start the helper '%s': PATH finds it relative to "
                                     "the current directory",
                                     printable);
        }
        if (!*end)
            break;
    }
    return tuck_client__fail_os(error, TUCK_CLIENT_NO_START, ENOENT,
                                "cannot find the helper '%s' in PATH", printable);
}
