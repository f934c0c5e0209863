/* YAML: what is read has a JSON text that reads as the same value. */
#include <string.h>

#include "base/json.h"
#include "base/yaml.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct error err = { 0 };
    struct buf b = { 0 };
    json_t *v = NULL, *again = NULL;
    enum status st = yaml_parse((const char *)data, len, "x", &v, &err);

    if (st) {
        REQUIRE_REFUSED(st, err);
        REQUIRE(strstr(err.text, "'x'") && !v);
        return 0;
    }
    json_put_value(&b, v, JSON_COMPACT);
    REQUIRE(buf_ok(&b));
    REQUIRE(json_parse(b.data, b.len, "again", 0, &again, &err) == ST_OK);
    REQUIRE(json_equal(v, again));
    json_decref(again);
    json_decref(v);
    buf_release(&b);
    return 0;
}
