/* The key of a cell: which columns decide it, and how they are hashed. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "results/results.h"

/*
 * SHA-256 of these texts, each behind its length (sha256_add_str()). Left out is what follows
 * from the rest (architecture, sizes: config_sha256; budget: selector) and what only names the
 * same thing (model: weights_sha256 and the like). The text in front changes whenever this list
 * does. Temperature goes by its bits, so that no rounding makes two equal; -0 counts as 0, and
 * every NaN (not known) as one.
 */
void cell_key(const struct cell_row *row, char ret_key[65])
{
    /* of answers made elsewhere the name is all that is known of the model */
    bool has_answers = row->answers_sha256 && *row->answers_sha256;
    const char *const texts[] = {
        "desbench cell 2",
        row->task,
        row->dataset_sha256,
        row->prompt_form,
        row->prompt_sha256,
        row->load_format,
        row->weights_sha256,
        row->config_sha256,
        row->tokenizer_sha256,
        row->template_sha256,
        row->selector,
        row->decoder,
        row->cache,
        row->backend,
        row->numeric_mode,
        row->answers_sha256,
        has_answers ? row->model : "",
    };
    struct sha256 *h = sha256_new();
    double temperature = row->temperature == 0     ? 0
                         : isnan(row->temperature) ? (double)NAN
                                                   : row->temperature;
    uint64_t bits;
    char s[32];

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        sha256_add_str(h, texts[i] ? texts[i] : "");
    for (int i = 0; i < 3; i++) {
        snprintf(s, sizeof(s), "%d",
                 i == 0   ? row->gen_length
                 : i == 1 ? row->block_length
                          : row->engine_results_version);
        sha256_add_str(h, s);
    }
    memcpy(&bits, &temperature, sizeof(bits));
    snprintf(s, sizeof(s), "%016" PRIx64, bits);
    sha256_add_str(h, s);
    sha256_finish(h, ret_key);
}
