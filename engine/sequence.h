/*
 * Inside of the engine: what its sequences share. The public side is engine/engine.h.
 *
 * A sequence is a canvas of token ids, the prompt followed by gen_length masks, denoised block
 * by block from left to right. engine_step() plans one forward for each sequence
 * (engine/forward_plan.h), runs all of them through the model at once, proposes a token for
 * every masked position of each sequence's block (kernels pick), and lets its decoder commit
 * some (engine/decoder.h). The sequences of a step need have nothing in common but the model.
 */
#ifndef ENGINE_SEQUENCE_H
#define ENGINE_SEQUENCE_H

#include <stdint.h>

#include "base/arena.h"
#include "engine/decode_options.h"
#include "engine/engine.h"
#include "engine/model.h"
#include "engine/popularity.h"
#include "engine/tokenizer.h"

struct engine {
    struct model *model; /* NULL: opened for text only */
    const struct model_info *info;
    const struct tokenizer *tokenizer;
    struct decode_options defaults;
    struct decode_limits limits;
    int max_batch;
    int32_t answer_end_id;  /* a token other than EOS that ends an answer, or -1 */
    int32_t *positions;     /* (max_canvas) 0, 1, 2, ... */
    struct kv_cache **free; /* (max_batch) caches that no sequence holds: the first n_free */
    int n_free;
    struct sequence **active;      /* (max_batch) the sequences of the step under way */
    struct forward_item *items;    /* (max_batch) beside them */
    struct popularity *popularity; /* tables read so far */
    struct engine_observer observer;
    bool is_timed;           /* the next step is */
    struct step_times times; /* of the last step that was */
    struct part_time *parts; /* what they point to; NULL: none ever was */
    int *unique;             /* (n_layer) room of step_time() */

    /* Without a model, what it would own. */
    struct arena text_arena;
    struct model_info text_info;
    struct tokenizer *text_tokenizer;
};

/*
 * An engine around a model, which it owns from then on (on failure the caller still does):
 * allocates the caches of max_batch sequences and the workspace of a step. defaults are left for
 * the caller to set; answer_end_id is -1. ST_UNSUPPORTED: the backend lacks the op that decoding
 * needs; ST_NOMEM.
 */
MUST_CHECK enum status engine_new(struct model *m, struct engine **ret, struct error *err);

#endif
