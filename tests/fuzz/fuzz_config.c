/* config.json: a configuration that is read keeps the limits of its header. */
#include <string.h>

#include "engine/config.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct model_config c, again;
    struct error err = { 0 };
    enum status st = config_parse((const char *)data, len, "x", NULL, 0, &c, &err);

    if (st) {
        REQUIRE_REFUSED(st, err);
        REQUIRE(strstr(err.text, "'x'"));
        return 0;
    }
    REQUIRE(c.n_layer >= 1 && c.n_layer <= CONFIG_MAX_LAYERS);
    REQUIRE(c.d_model >= 1 && c.d_model <= CONFIG_MAX_WIDTH);
    REQUIRE(c.n_vocab >= 1 && c.n_vocab <= CONFIG_MAX_VOCAB);
    REQUIRE(c.max_positions >= 1 && c.max_positions <= CONFIG_MAX_POSITIONS);
    REQUIRE(c.n_head >= 1 && c.n_head <= CONFIG_MAX_HEADS && c.n_head % c.n_kv_head == 0);
    REQUIRE(c.d_rot >= 2 && c.d_rot <= c.d_head && c.d_rot % 2 == 0);
    REQUIRE(c.d_ff >= 1 && c.d_ff <= CONFIG_MAX_FF && c.top_k >= 1 && c.top_k <= c.n_exp);
    REQUIRE(c.n_group >= 1 && c.topk_group >= 1 && c.topk_group <= c.n_group);
    REQUIRE(c.rope_theta > 0 && c.rms_eps > 0 && strlen(c.sha256) == 64);
    REQUIRE(c.n_shared == 0 || c.n_shared == 1);
    REQUIRE(c.n_dense_layer >= 0 && c.n_dense_layer < c.n_layer);
    REQUIRE(config_parse((const char *)data, len, "x", NULL, 0, &again, &err) == ST_OK);
    REQUIRE(strcmp(c.sha256, again.sha256) == 0);
    return 0;
}
