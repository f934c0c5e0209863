/*
 * `desbench routing`: how a model's router behaves while it decodes, and that as a record: a JSON
 * object that is printed, kept and printed again.
 */
#ifndef HARNESS_ROUTING_H
#define HARNESS_ROUTING_H

#include "base/json.h"
#include "base/status.h"
#include "harness/listing.h"

/*
 * Members of a record, an object; the names are those of the columns that are printed.
 *
 * Of its own: format ("desbench-routing-1"), program, command, made, model, architecture,
 * load_format, weights_sha256, n_moe_layers, n_experts, top_k, backend, tasks (names), n_prompts;
 * decoder, cache and block_length of the model's own way of decoding.
 *
 * Lists of objects:
 *
 * - blocks: block_length, n_samples, mean_unique, sd_unique, uniform, ratio; least_layer and
 *   most_layer, means of the layers with the fewest and the most unique experts
 * - layers, at the record's block_length: mean_unique, top1_mass, topk_mass, load_max_over_mean,
 *   dead, overlap; the object `all` has the same over all layers
 * - votes, at the record's block_length: n_core, n_samples, differs, mass_lost
 */
#define ROUTING_FORMAT "desbench-routing-1"

/* Print a record as text, Markdown or JSON. ST_INVALID names the record's field that is missing or
 * of another kind. */
MUST_CHECK enum status routing_print(const json_t *record, const char *name, enum print_form form,
                                     struct error *err);

#endif
