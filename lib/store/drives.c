// SPDX-License-Identifier: MIT
#include "lib/store/drives.h"

#define DIGITS_MAX 9 // of one number; nobody has more drives, and no sum of these overflows

const char *tuck_drives__show(const char *path, size_t len,
                              char ret_text[static TUCK_DRIVES_SHOWN]) {
    size_t room = TUCK_DRIVES_SHOWN - 1, used = 0;
    if (len > room) {
        memcpy(ret_text, "...", 3);
        used = 3;
        path += len - (room - used);
        len = room - used;
        while (len > 0 && ((uint8_t)*path & 0xc0) == 0x80) // the rest of a character
            path++, len--;
    }
    for (size_t i = 0; i < len; i++) {
        bool is_control = (uint8_t)path[i] < 0x20 || (uint8_t)path[i] == 0x7f;
        ret_text[used++] = is_control ? '?' : path[i];
    }
    ret_text[used] = '\0';
    return ret_text;
}

struct element {
    const char *text;
    size_t len;
    char shown[TUCK_DRIVES_SHOWN];
};

// --- Ranges --------------------------------------------------------------------------------------

struct range {
    uint32_t from, to;
    int width;  // in digits, with zeros in front
    size_t len; // in the text, with both braces
};

static size_t count_digits(const char *text, size_t len) {
    size_t count = 0;
    while (count < len && text[count] >= '0' && text[count] <= '9')
        count++;
    return count;
}

static uint32_t read_number(const char *digits, size_t count) {
    uint32_t number = 0;
    for (size_t i = 0; i < count; i++)
        number = number * 10 + (uint32_t)(digits[i] - '0');
    return number;
}

// Reads {first...last}, which begins at `at`.
static int read_range(const struct element *element, size_t at, struct range *ret_range,
                      struct tuck_error *err) {
    const char *first = element->text + at + 1;
    const char *end = memchr(first, '}', element->len - at - 1);
    if (!end)
        return tuck_fail(err, TUCK_EINVAL,
                         "the '{' in drive '%s' has no '}'; write a range such as {1...4}, or "
                         "leave the brace out",
                         element->shown);
    size_t first_digits = count_digits(first, (size_t)(end - first)), dots = 0;
    const char *last = first + first_digits;
    while (last < end && *last == '.')
        last++, dots++;
    size_t last_digits = count_digits(last, (size_t)(end - last));
    if (first_digits == 0 || last_digits == 0 || last + last_digits != end || dots < 2 || dots > 3)
        return tuck_fail(err, TUCK_EINVAL,
                         "what is in braces in drive '%s' is no range; write two numbers with "
                         "three dots between them, such as {1...4}",
                         element->shown);
    if (first_digits > DIGITS_MAX || last_digits > DIGITS_MAX)
        return tuck_fail(err, TUCK_EINVAL,
                         "a number in drive '%s' is too large; write %d digits "
                         "at most",
                         element->shown, DIGITS_MAX);
    if (dots == 2)
        return tuck_fail(err, TUCK_EINVAL, "drive '%s' has two dots; write {%.*s...%.*s}",
                         element->shown, (int)first_digits, first, (int)last_digits, last);
    uint32_t from = read_number(first, first_digits), to = read_number(last, last_digits);
    if (from > to)
        return tuck_fail(err, TUCK_EINVAL,
                         "the range in drive '%s' runs backwards; write "
                         "{%.*s...%.*s}",
                         element->shown, (int)last_digits, last, (int)first_digits, first);
    bool has_zeros = (first_digits > 1 && *first == '0') || (last_digits > 1 && *last == '0');
    size_t width = first_digits > last_digits ? first_digits : last_digits;
    *ret_range = (struct range){.from = from,
                                .to = to,
                                .width = has_zeros ? (int)width : 1,
                                .len = (size_t)(end - first) + 2};
    return 0;
}

static int refuse_number(const struct element *element, struct tuck_error *err) {
    return tuck_fail(err, TUCK_EINVAL, "with drive '%s' there are more than %d; name fewer drives",
                     element->shown, TUCK_DRIVES_MAX);
}

// Checks an element and tells how many drives it stands for.
static int count_drives(const struct element *element, size_t *ret_count, struct tuck_error *err) {
    size_t count = 1;
    for (size_t i = 0; i < element->len; i++) {
        if (element->text[i] == '}')
            return tuck_fail(err, TUCK_EINVAL,
                             "the '}' in drive '%s' has no '{'; write a range such as {1...4}, or "
                             "leave the brace out",
                             element->shown);
        if (element->text[i] != '{')
            continue;
        struct range range;
        int status = read_range(element, i, &range, err);
        if (status < 0)
            return status;
        size_t size = (size_t)range.to - range.from + 1;
        if (size > TUCK_DRIVES_MAX || count * size > TUCK_DRIVES_MAX)
            return refuse_number(element, err);
        count *= size;
        i += range.len - 1;
    }
    *ret_count = count;
    return 0;
}

// Writes out the drive `number` of the `count` that the element stands for. NULL: no memory.
static char *expand(const struct element *element, size_t number, size_t count) {
    // No number is longer than its range in the text.
    char *path = malloc(element->len + 1);
    size_t used = 0;
    for (size_t i = 0; path && i < element->len; i++) {
        if (element->text[i] != '{') {
            path[used++] = element->text[i];
            continue;
        }
        struct range range = {0};
        if (read_range(element, i, &range, NULL) < 0)
            break; // it was read once before
        size_t size = (size_t)range.to - range.from + 1;
        count /= size;
        size_t value = range.from + number / count % size;
        used += (size_t)snprintf(path + used, element->len + 1 - used, "%0*zu", range.width, value);
        i += range.len - 1;
    }
    while (used > 1 && path[used - 1] == '/')
        used--;
    if (path)
        path[used] = '\0';
    return path;
}

// --- The list ------------------------------------------------------------------------------------

static int check_form(const struct element *element, struct tuck_error *err) {
    if (element->len == 0)
        return tuck_fail(err, TUCK_EINVAL,
                         "drives has an empty element ''; write an absolute path between any two "
                         "separators, and none at the ends");
    if (element->text[0] == ' ' || element->text[0] == '\t')
        return tuck_fail(err, TUCK_EINVAL,
                         "drive '%s' begins with a blank; write no blanks at separators",
                         element->shown);
    if (element->text[0] != '/')
        return tuck_fail(err, TUCK_EINVAL,
                         "drive '%s' is not an absolute path; write one that begins with '/'",
                         element->shown);
    return 0;
}

static int add_element(struct tuck_drives *drives, const struct element *element,
                       struct tuck_error *err) {
    size_t count = 0;
    int status = check_form(element, err);
    if (status == 0)
        status = count_drives(element, &count, err);
    if (status < 0)
        return status;
    if (drives->count + count > TUCK_DRIVES_MAX)
        return refuse_number(element, err);
    for (size_t i = 0; i < count; i++) {
        char *path = expand(element, i, count);
        if (!path)
            return tuck_fail(err, TUCK_ENOMEM, "no memory for the list of drives");
        drives->paths[drives->count++] = path;
        for (size_t other = 0; other + 1 < drives->count; other++) {
            char shown[TUCK_DRIVES_SHOWN];
            if (strcmp(drives->paths[other], path) == 0)
                return tuck_fail(err, TUCK_EINVAL, "drive '%s' is named twice; leave one out",
                                 tuck_drives__show(path, strlen(path), shown));
        }
    }
    return 0;
}

int tuck_drives_parse(const char *text, struct tuck_drives *ret_drives, struct tuck_error *err) {
    TUCK_CLEANUP(tuck_drives_fini) struct tuck_drives drives = {0};
    drives.paths = calloc(TUCK_DRIVES_MAX, sizeof(*drives.paths));
    if (!drives.paths)
        return tuck_fail(err, TUCK_ENOMEM, "no memory for the list of drives");
    const char *separator = strchr(text, ';') ? ";" : ",";
    for (const char *at = text;; at++) {
        struct element element = {.text = at, .len = strcspn(at, separator)};
        (void)tuck_drives__show(element.text, element.len, element.shown);
        int status = add_element(&drives, &element, err);
        if (status < 0)
            return status;
        at += element.len;
        if (!*at)
            break;
    }
    *ret_drives = drives;
    drives = (struct tuck_drives){0};
    return 0;
}

void tuck_drives_fini(struct tuck_drives *drives) {
    if (!drives)
        return;
    for (size_t i = 0; i < drives->count; i++)
        free(drives->paths[i]);
    free(drives->paths);
    *drives = (struct tuck_drives){0};
}
