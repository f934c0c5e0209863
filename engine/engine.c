/* The engine's front: opening, and the text side, which is the tokenizer's work. */
#include "engine/engine.h"

#include <assert.h>
#include <stdlib.h>

#include "engine/sequence.h"

static enum status no_room(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory opening a model");
}

/* config.json and tokenizer.json alone. A canvas may then be as long as the model can see. */
static enum status open_text(const struct engine_options *opts, struct engine **ret,
                             struct error *err)
{
    struct engine *e = calloc(1, sizeof(*e));
    struct buf path = { 0 };
    enum status st;

    if (!e)
        return no_room(err);
    st = model_peek(opts, &e->text_arena, &e->text_info, err);
    if (st)
        goto out;
    buf_printf(&path, "%s/tokenizer.json", opts->model_dir);
    st = buf_ok(&path) ? tokenizer_open(buf_str(&path), &e->text_tokenizer, err) : no_room(err);
    if (st)
        goto out;
    e->info = &e->text_info;
    e->tokenizer = e->text_tokenizer;
    e->limits = (struct decode_limits){
        .max_canvas = opts->max_canvas ? opts->max_canvas : e->info->max_positions,
        .max_block = opts->max_block ? opts->max_block : e->info->max_positions,
        .route = { .n_exp = e->info->n_exp, .top_k = e->info->top_k, .top_k_base = e->info->top_k },
        .is_block_causal = e->info->mask_block > 0,
    };
    *ret = e;
    e = NULL;
out:
    buf_release(&path);
    engine_close(e);
    return st;
}

static enum status open_whole(const struct engine_options *opts, struct engine **ret,
                              struct error *err)
{
    struct model *m = NULL;
    enum status st = model_open(opts, &m, err);

    if (st)
        return st;
    st = engine_new(m, ret, err);
    if (st)
        model_close(m);
    return st;
}

enum status engine_open(const struct engine_options *opts, struct engine **ret, struct error *err)
{
    struct engine *e = NULL;
    enum status st;

    assert(opts->model_dir);
    st = opts->is_text_only ? open_text(opts, &e, err) : open_whole(opts, &e, err);
    if (st)
        return st;
    e->answer_end_id = tokenizer_special_id(e->tokenizer, "<|role_end|>");
    st = decode_defaults_read(opts->model_dir, e->info->architecture, &e->defaults, err);
    if (st)
        engine_close(e);
    else
        *ret = e;
    return st;
}

enum status engine_chat(const struct engine *e, const struct engine_message *msgs, size_t n_msgs,
                        struct buf *ret, struct error *err)
{
    (void)e; /* one template for all models known */
    return chat_render(msgs, n_msgs, ret, err);
}

enum status engine_tokenize(const struct engine *e, const char *text, size_t len,
                            struct arena *arena, int32_t **ret, size_t *ret_n, struct error *err)
{
    return tokenizer_encode(e->tokenizer, text, len, arena, ret, ret_n, err);
}

enum status engine_detokenize(const struct engine *e, const int32_t *ids, size_t n,
                              bool skip_special, struct buf *ret, struct error *err)
{
    return tokenizer_decode(e->tokenizer, ids, n, skip_special, ret, err);
}
