/*
 * Values in Python source: what is read is JSON that, written as Python again, reads as the same.
 * The input is a byte that says where the value is looked for, then the source.
 */
#include <string.h>

#include "base/buf.h"
#include "tasks/python_literal.h"
#include "tests/fuzz/fuzz.h"

static void put_string(struct buf *b, const char *s, size_t len)
{
    buf_putc(b, '"');
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];

        if (c < ' ' || c == 127 || c == '"' || c == '\\')
            buf_printf(b, "\\x%02x", c);
        else
            buf_putc(b, (char)c);
    }
    buf_putc(b, '"');
}

static void put(struct buf *b, const json_t *v)
{
    const char *key;
    json_t *x;
    size_t i;

    switch (json_typeof(v)) {
    case JSON_NULL: buf_puts(b, "None"); break;
    case JSON_TRUE: buf_puts(b, "True"); break;
    case JSON_FALSE: buf_puts(b, "False"); break;
    case JSON_INTEGER: buf_printf(b, "%" JSON_INTEGER_FORMAT, json_integer_value(v)); break;
    case JSON_REAL: buf_printf(b, "%.17e", json_real_value(v)); break;
    case JSON_STRING: put_string(b, json_string_value(v), json_string_length(v)); break;
    case JSON_ARRAY:
        buf_putc(b, '[');
        json_array_foreach(v, i, x)
        {
            put(b, x);
            buf_putc(b, ',');
        }
        buf_putc(b, ']');
        break;
    default:
        buf_putc(b, '{');
        json_object_foreach((json_t *)(uintptr_t)v, key, x)
        {
            put_string(b, key, strlen(key));
            buf_putc(b, ':');
            put(b, x);
            buf_putc(b, ',');
        }
        buf_putc(b, '}');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    enum python_place place = len && data[0] % 2 ? PYTHON_RETURNED : PYTHON_ASSIGNED;
    json_t *first = NULL, *second = NULL;
    struct error err = { 0 };
    struct buf again = { 0 };
    enum status st;

    if (!len)
        return 0;
    st = python_literal_read((struct span){ (const char *)data + 1, len - 1 }, "m.py", place, "x",
                             &first, &err);
    if (st) {
        REQUIRE_REFUSED(st, err);
        REQUIRE(strstr(err.text, "m.py"));
        return 0;
    }
    buf_puts(&again, "x = ");
    put(&again, first);
    buf_putc(&again, '\n');
    REQUIRE(buf_ok(&again));
    st = python_literal_read((struct span){ buf_str(&again), again.len }, "again.py",
                             PYTHON_ASSIGNED, "x", &second, &err);
    if (st)
        fprintf(stderr, "%s\n%s", err.text, buf_str(&again));
    REQUIRE(st == ST_OK && json_equal(first, second));
    json_decref(second);
    json_decref(first);
    buf_release(&again);
    return 0;
}
