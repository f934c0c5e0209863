/* JSON: typed members, messages that name the place, text that reads back. */
#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/rng.h"
#include "base/utf8.h"

static json_t *parse(const char *text)
{
    struct error err = { 0 };
    json_t *v = NULL;

    cr_assert_eq(json_parse(text, strlen(text), "x", 0, &v, &err), ST_OK, "%s", err.text);
    return v;
}

static void expect_bad(const char *text, size_t len, size_t line, const char *words)
{
    struct error err = { 0 };
    json_t *v = NULL;

    cr_expect_eq(json_parse(text, len, "f.json", line, &v, &err), ST_INVALID, "%s", text);
    cr_expect_null(v);
    cr_expect(strstr(err.text, "'f.json'") && strstr(err.text, words), "%s", err.text);
}

Test(json, exactly_one_value_is_parsed)
{
    json_decref(parse("{\"a\": [1, 2]}"));
    json_decref(parse(" 7 "));
    expect_bad("", 0, 0, "line");
    expect_bad("{} {}", 5, 0, "byte");
    expect_bad("{\"a\": 1, \"a\": 2}", 16, 0, "duplicate");
    expect_bad("{\"a\":\n 1,\n}", 11, 0, "line 3");
    expect_bad("{\"a\" 1}", 7, 12, "line 12");
    expect_bad("\"\xff\"", 3, 0, "0xff");
    expect_bad("\"\\ud800\"", 8, 0, "byte");
    expect_bad("123456789012345678901234567890", 30, 0, "byte 30: too big integer");
    expect_bad("9223372036854775808", 19, 7, "line 7: not valid JSON at byte 19: too big integer");
    expect_bad("[\n-9223372036854775809]", 22, 0, "line 2: not valid JSON at byte 22: too big neg");
    expect_bad("1e999", 5, 0, "byte 5: real number overflow");
    expect_bad("NaN", 3, 0, "byte");
    expect_bad("[1\0, 2]", 8, 0, "byte 2: NUL");
    expect_bad("true\0", 5, 3, "line 3: not valid JSON at byte 4: NUL");
}

Test(json, numbers_between_the_limits_are_read)
{
    json_t *v = parse("[1e308, 1e-400, -0.0, 0.1e1, 1.5]");

    cr_expect_eq(json_number_value(json_array_get(v, 0)), 1e308);
    cr_expect_eq(json_number_value(json_array_get(v, 1)), 0, "too small to tell from 0");
    cr_expect_eq(json_number_value(json_array_get(v, 3)), 1);
    json_decref(v);
}

Test(json, nesting_without_end_is_refused_without_a_crash)
{
    enum { N = 1 << 20 };
    char *deep = malloc(N);
    struct error err = { 0 };
    struct buf b = { 0 };
    json_t *v = NULL;

    memset(deep, '[', N);
    expect_bad(deep, N, 0, "depth");
    memset(deep + 2048, ']', 2048); /* the limit of json.h, and one past it */
    cr_assert_eq(json_parse(deep, 4096, "x", 0, &v, &err), ST_OK, "%s", err.text);
    json_put_value(&b, v, JSON_COMPACT);
    cr_expect(buf_ok(&b) && b.len == 4096, "and written again");
    json_decref(v);
    buf_release(&b);
    deep[2048] = '[';
    memset(deep + 2049, ']', 2049);
    expect_bad(deep, 4098, 0, "depth");
    free(deep);
}

/* Values made in one thread are read and freed in another while it parses its own. */
static void *parse_and_free(void *arg)
{
    json_t **slot = arg;
    bool is_right = true;

    for (int i = 0; i < 200; i++) {
        json_t *v = NULL;
        struct error err = { 0 };

        is_right &= json_parse("{\"a\": [1, \"x\"]}", 14, "x", 0, &v, &err) == ST_INVALID;
        is_right &= json_parse("{\"a\": [1, \"x\"]}", 15, "x", 0, &v, &err) == ST_OK;
        v = __atomic_exchange_n(slot, v, __ATOMIC_ACQ_REL);
        is_right &= !v || json_array_size(json_object_get(v, "a")) == 2;
        json_decref(v);
    }
    return is_right ? NULL : arg;
}

Test(json, threads_hand_values_to_each_other)
{
    pthread_t threads[4];
    json_t *slot = NULL;

    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, parse_and_free, &slot), 0);
    for (int i = 0; i < 4; i++) {
        void *wrong = NULL;
        pthread_join(threads[i], &wrong);
        cr_expect_null(wrong);
    }
    json_decref(slot);
}

Test(json, members_have_the_type_that_is_asked_for)
{
    static const char *const wrong_found[] = { "an integer", "a string", "a string",
                                               "a string",   "a string", "a string" };
    json_t *v = parse("{\"s\": \"text\", \"i\": -7, \"r\": 2.5, \"b\": true, \"a\": [1],"
                      " \"o\": {\"k\": 1}, \"n\": null}");
    struct error err;
    const char *s = NULL;
    int64_t i = 0;
    double d = 0;
    bool b = false;
    json_t *a = NULL, *o = NULL;

    cr_expect_eq(json_get_str(v, "w", "s", &s, NULL, &err), ST_OK);
    cr_expect_str_eq(s, "text");
    cr_expect_eq(json_get_int(v, "w", "i", -10, 10, &i, &err), ST_OK);
    cr_expect_eq(i, -7);
    cr_expect_eq(json_get_num(v, "w", "r", &d, &err), ST_OK);
    cr_expect_eq(d, 2.5);
    cr_expect_eq(json_get_num(v, "w", "i", &d, &err), ST_OK, "an integer is a number");
    cr_expect_eq(d, -7);
    cr_expect_eq(json_get_bool(v, "w", "b", &b, &err), ST_OK);
    cr_expect(b);
    cr_expect_eq(json_get_array(v, "w", "a", &a, &err), ST_OK);
    cr_expect_eq(json_array_size(a), 1);
    cr_expect_eq(json_get_object(v, "w", "o", &o, &err), ST_OK);
    cr_expect_eq(json_object_size(o), 1);

    for (int k = 0; k < 6; k++) {
        enum status st = ST_OK;

        switch (k) {
        case 0: st = json_get_str(v, "file 'x' line 3", "i", &s, NULL, &err); break;
        case 1: st = json_get_int(v, "file 'x' line 3", "s", 0, 1, &i, &err); break;
        case 2: st = json_get_num(v, "file 'x' line 3", "s", &d, &err); break;
        case 3: st = json_get_bool(v, "file 'x' line 3", "s", &b, &err); break;
        case 4: st = json_get_array(v, "file 'x' line 3", "s", &a, &err); break;
        case 5: st = json_get_object(v, "file 'x' line 3", "s", &o, &err); break;
        }
        cr_expect_eq(st, ST_INVALID, "%d", k);
        cr_expect(strstr(err.text, "file 'x' line 3: field '") &&
                      strstr(err.text, wrong_found[k]) && strstr(err.text, k ? "\"text\"" : "-7"),
                  "%s", err.text);
    }
    cr_expect_str_eq(s, "text", "a failure leaves the result alone");
    cr_expect_eq(i, -7);
    cr_expect_eq(json_get_int(v, "w", "r", 0, 9, &i, &err), ST_INVALID, "2.5 is no integer");
    cr_expect_eq(json_get_bool(v, "w", "n", &b, &err), ST_INVALID);
    cr_expect(strstr(err.text, "null"), "%s", err.text);
    cr_expect_eq(json_get_bool(v, "w", "none", &b, &err), ST_INVALID);
    cr_expect_str_eq(err.text, "w: field 'none' (true or false) is missing");
    cr_expect_eq(json_get_int(v, "w", "i", -6, 6, &i, &err), ST_INVALID);
    cr_expect_str_eq(err.text, "w: field 'i' must be -6 .. 6, found -7");
    cr_expect_eq(json_get_int(a, "w", "i", 0, 1, &i, &err), ST_INVALID);
    cr_expect_str_eq(err.text, "w: an object is needed, found an array");
    cr_expect_eq(json_get_int(NULL, "w", "i", 0, 1, &i, &err), ST_INVALID);
    cr_expect(strstr(err.text, "found nothing"), "%s", err.text);
    json_decref(v);
}

Test(json, integers_keep_all_64_bits)
{
    json_t *v = parse("{\"min\": -9223372036854775808, \"max\": 9223372036854775807}");
    struct error err;
    int64_t i;

    cr_expect_eq(json_get_int(v, "w", "min", INT64_MIN, INT64_MAX, &i, &err), ST_OK);
    cr_expect_eq(i, INT64_MIN);
    cr_expect_eq(json_get_int(v, "w", "max", INT64_MIN, INT64_MAX, &i, &err), ST_OK);
    cr_expect_eq(i, INT64_MAX);
    json_decref(v);
}

Test(json, strings_with_nul_are_given_with_their_length_or_refused)
{
    json_t *v = parse("{\"s\": \"a\\u0000b\"}");
    struct error err;
    const char *s = "kept";
    size_t len = 0;

    cr_expect_eq(json_get_str(v, "w", "s", &s, NULL, &err), ST_INVALID);
    cr_expect_str_eq(err.text, "w: field 's' holds a NUL character");
    cr_expect_str_eq(s, "kept");
    cr_expect_eq(json_get_str(v, "w", "s", &s, &len, &err), ST_OK);
    cr_expect(len == 3 && memcmp(s, "a\0b", 4) == 0);
    json_decref(v);
}

Test(json, a_long_value_is_cut_in_the_message)
{
    struct buf b = { 0 };
    struct error err;
    bool flag;
    json_t *v;

    buf_puts(&b, "{\"k\": \"");
    for (int i = 0; i < 1000; i++)
        buf_puts(&b, "\xc3\xa9");
    buf_puts(&b, "\"}");
    v = parse(buf_str(&b));
    cr_expect_eq(json_get_bool(v, "w", "k", &flag, &err), ST_INVALID);
    cr_expect_lt(strlen(err.text), 200);
    cr_expect_eq(utf8_check(err.text, strlen(err.text)), strlen(err.text), "%s", err.text);
    json_decref(v);
    buf_release(&b);
}

Test(json, files_are_read_and_named)
{
    char path[] = "/tmp/desbench-test-XXXXXX";
    int fd = mkstemp(path);
    struct error err;
    json_t *v = NULL;

    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, "[1,\n2", 5), 5);
    cr_expect_eq(json_read(path, 100, &v, &err), ST_INVALID);
    cr_expect(strstr(err.text, path) && strstr(err.text, "line 2"), "%s", err.text);
    cr_assert_eq(write(fd, "]", 1), 1);
    cr_expect_eq(json_read(path, 5, &v, &err), ST_INVALID, "6 bytes, at most 5");
    cr_expect_eq(json_read(path, 6, &v, &err), ST_OK, "%s", err.text);
    cr_expect_eq(json_array_size(v), 2);
    json_decref(v);
    close(fd);
    unlink(path);
    cr_expect_eq(json_read(path, 6, &v, &err), ST_NOT_FOUND);
}

Test(json, any_text_written_is_the_text_read)
{
    struct rng rng;

    rng_seed(&rng, 1);
    for (int round = 0; round < 2000; round++) {
        struct buf text = { 0 }, out = { 0 };
        struct error err = { 0 };
        json_t *v = NULL;

        for (uint64_t n = rng_below(&rng, 20); n; n--) {
            unsigned c = (unsigned)rng_below(&rng, rng_below(&rng, 2) ? 0x90 : 0x110000);
            buf_put_utf8(&text, c >= 0xd800 && c <= 0xdfff ? '"' : c);
        }
        json_put_str(&out, buf_str(&text), text.len);
        cr_assert_eq(json_parse(out.data, out.len, "x", 0, &v, &err), ST_OK, "%s", err.text);
        cr_assert_eq(json_string_length(v), text.len);
        cr_assert_eq(memcmp(json_string_value(v), buf_str(&text), text.len), 0);
        for (size_t i = 0; i < out.len; i++)
            cr_assert((unsigned char)out.data[i] >= 0x20 && out.data[i] != 0x7f);
        json_decref(v);
        buf_release(&text);
        buf_release(&out);
    }
}

Test(json, bytes_that_are_not_utf8_become_replacement_characters)
{
    struct buf b = { 0 };

    json_put_str(&b, "a\xff\xc3(\xed\xa0\x80\n\t\"\\", 11);
    cr_expect_str_eq(buf_str(&b), "\"a\xef\xbf\xbd\xef\xbf\xbd(\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
                                  "\\n\\u0009\\\"\\\\\"");
    buf_release(&b);
}

Test(json, any_number_written_is_the_number_read)
{
    static const double special[] = { 0,
                                      -0.0,
                                      1,
                                      -1,
                                      0.1,
                                      1e22,
                                      1e21,
                                      123456,
                                      DBL_MAX,
                                      DBL_MIN,
                                      0x1p-1074,
                                      1.0 / 3,
                                      5e-324,
                                      2.5e15,
                                      1e15,
                                      1e17,
                                      0.30000000000000004 };
    struct rng rng;

    rng_seed(&rng, 1);
    for (int i = 0; i < 20000; i++) {
        struct buf b = { 0 };
        struct error err = { 0 };
        json_t *v = NULL;
        uint64_t bits = rng_u64(&rng);
        double d, back;

        memcpy(&d, &bits, sizeof(d));
        if (i < (int)(sizeof(special) / sizeof(special[0])))
            d = special[i];
        json_put_num(&b, d);
        if (!isfinite(d)) {
            cr_assert_str_eq(buf_str(&b), "null");
        } else {
            cr_assert_eq(json_parse(b.data, b.len, "x", 0, &v, &err), ST_OK, "%s", b.data);
            back = json_number_value(v);
            cr_assert_eq(back, d, "%a is written %s", d, b.data);
        }
        json_decref(v);
        buf_release(&b);
    }
}

Test(json, numbers_are_short)
{
    struct buf b = { 0 };

    json_put_num(&b, 0.1);
    buf_putc(&b, ' ');
    json_put_num(&b, 100);
    buf_putc(&b, ' ');
    json_put_num(&b, NAN);
    buf_putc(&b, ' ');
    json_put_num(&b, -INFINITY);
    cr_expect_str_eq(buf_str(&b), "0.1 100 null null");
    buf_release(&b);
}
