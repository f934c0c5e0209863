/* The real data for tests, where it is there: one JSON object a line. */
#ifndef TESTS_TASKS_MATH_DATA_H
#define TESTS_TASKS_MATH_DATA_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"

/* Path of a file in $DESBENCH_DATA or the folder beside the sources. */
static inline void data_path(char *out, size_t size, const char *name)
{
    const char *data = getenv("DESBENCH_DATA"), *source = getenv("DESBENCH_SOURCE");

    if (data)
        snprintf(out, size, "%s/%s", data, name);
    else
        snprintf(out, size, "%s/../shared/data/%s", source ? source : ".", name);
}

/* All lines of a file as a JSON array. Its text is never released: the test's process ends
 * soon. */
static inline json_t *data_lines_at(const char *path)
{
    static struct buf text; /* reachable, so that no leak checker minds */
    struct error err = { 0 };
    json_t *lines = json_array(), *line;
    size_t n = 0;

    cr_assert_eq(file_read(path, 64 << 20, &text, &err), ST_OK, "%s", err.text);
    for (char *s = text.data, *end; s < text.data + text.len; s = end + 1) {
        end = memchr(s, '\n', (size_t)(text.data + text.len - s));
        if (!end)
            end = text.data + text.len;
        cr_assert_eq(json_parse(s, (size_t)(end - s), path, ++n, &line, &err), ST_OK, "%s",
                     err.text);
        json_array_append_new(lines, line);
    }
    return lines;
}

/* The same of a data set, or the test is skipped. */
static inline json_t *data_lines(const char *name)
{
    char path[4096];

    data_path(path, sizeof(path), name);
    if (!file_exists(path))
        cr_skip_test("no file '%s'", path);
    return data_lines_at(path);
}

static inline const char *data_str(const json_t *obj, const char *key)
{
    const char *s = json_string_value(json_object_get(obj, key));

    cr_assert_not_null(s, "no string '%s'", key);
    return s;
}

#endif
