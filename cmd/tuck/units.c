// SPDX-License-Identifier: MIT
#include "cmd/tuck/units.h"

#include <ctype.h>
#include <math.h>
#include <strings.h>

// A number without sign, and what follows it. False if there is none.
static bool read_number(const char *text, double *ret_number, const char **ret_rest) {
    char *end;
    if (!isdigit((unsigned char)text[0]))
        return false;
    *ret_number = strtod(text, &end);
    if (!isfinite(*ret_number) || memchr(text, 'x', (size_t)(end - text)) ||
        memchr(text, 'e', (size_t)(end - text)))
        return false;
    while (*end == ' ')
        end++;
    *ret_rest = end;
    return true;
}

bool tuck_read_size(const char *text, uint64_t *ret_bytes) {
    static const char letters[] = "KMGTPE";
    double number, factor = 1;
    const char *rest;
    if (!read_number(text, &number, &rest))
        return false;
    const char *letter = *rest ? strchr(letters, toupper((unsigned char)*rest)) : NULL;
    if (letter) {
        rest++;
        bool is_decimal = strcasecmp(rest, "B") == 0;
        for (const char *at = letters; at <= letter; at++)
            factor *= is_decimal ? 1000 : 1024;
        if (strcasecmp(rest, "iB") == 0 || is_decimal)
            rest = "";
    } else if (strcasecmp(rest, "B") == 0) {
        rest = "";
    }
    if (*rest || number * factor >= 9.2e18)
        return false;
    *ret_bytes = (uint64_t)(number * factor);
    return true;
}

bool tuck_read_percent(const char *text, unsigned *ret_percent) {
    double number;
    const char *rest;
    if (!read_number(text, &number, &rest) || strcmp(rest, "%") != 0 || number > 100 ||
        number != (double)(unsigned)number)
        return false;
    *ret_percent = (unsigned)number;
    return true;
}

static const struct {
    char letter;
    uint64_t seconds;
    const char *name;
} age_units[] = {
    {'w', 604800, "weeks"}, {'d', 86400, "days"}, {'h', 3600, "hours"},
    {'m', 60, "minutes"},   {'s', 1, "seconds"},
};

bool tuck_read_age(const char *text, uint64_t *ret_seconds) {
    double number;
    const char *rest;
    if (!read_number(text, &number, &rest))
        return false;
    for (size_t i = 0; i < TUCK_ARRAY_LEN(age_units); i++) {
        double seconds = number * (double)age_units[i].seconds;
        if (rest[0] != age_units[i].letter || rest[1] || seconds > 1e10)
            continue;
        *ret_seconds = (uint64_t)seconds;
        return true;
    }
    return false;
}

const char *tuck_show_size(uint64_t bytes, char ret_text[static 32]) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    size_t unit = 0;
    for (; value >= 1024 && unit + 1 < TUCK_ARRAY_LEN(units); unit++)
        value /= 1024;
    (void)snprintf(ret_text, 32, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return ret_text;
}

const char *tuck_show_age(uint64_t seconds, char ret_text[static 32]) {
    size_t unit = 0;
    while (unit + 1 < TUCK_ARRAY_LEN(age_units) && seconds < 2 * age_units[unit].seconds)
        unit++;
    (void)snprintf(ret_text, 32, "%llu %s", (unsigned long long)(seconds / age_units[unit].seconds),
                   age_units[unit].name);
    return ret_text;
}
