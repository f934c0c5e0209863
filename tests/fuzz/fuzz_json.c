/* JSON: what is read is written and read again as the same value, and so are texts. */
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"
#include "tests/fuzz/fuzz.h"

static void check_text(const char *s, size_t len)
{
    struct error err = { 0 };
    struct buf b = { 0 };
    json_t *v = NULL;

    json_put_str(&b, s, len);
    REQUIRE(json_parse(b.data, b.len, "text", 1, &v, &err) == ST_OK && json_is_string(v));
    if (utf8_check(s, len) == len)
        REQUIRE(json_string_length(v) == len && memcmp(json_string_value(v), s, len) == 0);
    json_decref(v);
    buf_release(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct error err = { 0 };
    struct buf b = { 0 };
    json_t *v = NULL, *again = NULL;
    enum status st = json_parse((const char *)data, len, "x", 0, &v, &err);

    check_text((const char *)data, len);
    if (st) {
        REQUIRE_REFUSED(st, err);
        REQUIRE(strstr(err.text, "'x'") && !v);
        return 0;
    }
    REQUIRE(!memchr(data, 0, len) && utf8_check((const char *)data, len) == len);
    json_put_value(&b, v, JSON_COMPACT);
    REQUIRE(buf_ok(&b));
    REQUIRE(json_parse(b.data, b.len, "again", 0, &again, &err) == ST_OK);
    REQUIRE(json_equal(v, again));
    json_decref(again);
    json_decref(v);
    buf_release(&b);
    return 0;
}
