/*
 * The engine: prompt tokens in, generated tokens out, for mixture-of-experts diffusion language
 * models. The one header of engine/ that other folders see; no tensor shows in it.
 *
 *   engine_open -> engine_tokenize / engine_chat -> sequence_start -> engine_step ... -> result
 *
 * Not thread-safe: one engine and its sequences belong to one thread at a time.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/status.h"

struct engine;
struct sequence;

/* Stored with every result; raised when the same inputs may give other tokens. */
enum { ENGINE_RESULTS_VERSION = 3 };

struct engine_options {
    bool is_text_only;       /* config.json and tokenizer alone: everything but sequences works;
                              * max_canvas and max_block 0: as many positions as the model sees */
    const char *model_dir;   /* Hugging Face layout: config.json, tokenizer.json, safetensors */
    const char *load_format; /* "safetensors"; or "dummy": random weights of the configured shape,
                              * N(0, 1/fan_in), norms U(0.5, 1.5), keyed by tensor name */
    uint64_t dummy_seed;
    const char *backend; /* a name of kernel_backends, or NULL: the fastest that opens */
    const char *isa;     /* of backend "cpu", as kernel_params has it; NULL: its choice */
    bool is_fast;  /* numeric mode "fast" instead of "invariant": an answer may depend on what else
                    * is in its batch, and large batches go faster. Of backend "cuda" */
    int n_threads; /* 0: as many as the process may run on */
    bool is_unpinned;  /* threads of backend "cpu" may move between processors */
    int max_canvas;    /* prompt + generated positions of one sequence, >= 1 */
    int max_batch;     /* sequences in flight at once, >= 1 */
    int max_block;     /* positions of one sequence that get logits in one forward: the longest
                        * block_length; 0: max_canvas. Logits are the largest buffer by far */
    bool is_diagnosed; /* each MoE layer runs the model's own routing too and tells how far the
                        * selector's output is from it: layer_record.output_error. Costs about
                        * twice the experts' time; tokens are the same */
    /* "key=value" (value: JSON) laid over config.json; dummy weights only (a shape experiment) */
    const char *const *overrides;
    size_t n_overrides;
    /* above 0: loading is to end, with ST_INTERRUPTED; a signal handler may count it. NULL: none */
    const volatile sig_atomic_t *n_stops;
};

/* What a router's scores are, and how a model chooses and weighs experts by them. */
struct model_routing {
    bool is_sigmoid;         /* of each expert by itself; else softmax over all */
    bool is_renormed;        /* chosen scores are divided by their sum */
    float scale;             /* and multiplied by this */
    int n_group, topk_group; /* experts are chosen among so many of n_group groups; 0: no groups */
};

/* Facts about an open model. Strings live as long as the engine. */
struct model_info {
    const char *architecture; /* "LLaDAMoEModelLM" ..., as config.json has it */
    const char *name;         /* last component of the folder */
    const char *load_format;
    const char *backend;         /* "ref", "cpu" */
    const char *backend_details; /* "avx512, 2 threads" */
    const char *isa;          /* of backend "cpu", "avx512"; NULL: the backend has one arithmetic */
    bool is_fast;             /* engine_options.is_fast */
    int n_layer, n_moe_layer; /* the latter: with routed experts; wherever layers have numbers, as
                               * in statistics, traces and popularity, these alone count, from 0 */
    int d_model, n_head, n_kv_head, d_head, d_ff;
    int n_shared;   /* experts of a MoE layer that every token goes through, beside the routed ones;
                     * of width d_ff, too. Counts of unique experts and their bytes leave them out */
    int d_ff_dense; /* width of the layers without routed experts; 0: there are none */
    int n_exp, top_k, n_vocab, max_positions;
    int mask_block; /* 0: every position sees every other; else block-causal, by blocks of
                     * block_length: this is the length that it was trained with */
    struct model_routing routing;
    const float *router_bias; /* (n_moe_layer, n_exp) added to scores for choosing; NULL: none */
    int32_t mask_id, eos_id;
    int64_t n_params, weight_bytes; /* of all weights */
    int64_t expert_bytes;           /* of one routed expert: gate, up and down */
    char config_sha256[65];         /* of config.json after overrides, canonical JSON */
    char tokenizer_sha256[65];      /* of tokenizer.json */
    char weights_sha256[65];        /* of all shards in name order; for dummy: of shape and seed */
    char template_sha256[65];       /* of the chat template this renderer implements */
};

/*
 * Load a model. *ret is freed by engine_close(). The message of a failure names the file, the
 * key and the value. ST_NOT_FOUND: no such folder or file; ST_INVALID: a malformed file;
 * ST_UNSUPPORTED: an architecture or a key that would change the maths and is not known here;
 * ST_NOMEM: weights, caches and workspace do not fit, with the bytes needed and available;
 * ST_INTERRUPTED: opts->n_stops.
 */
MUST_CHECK enum status engine_open(const struct engine_options *opts, struct engine **ret,
                                   struct error *err);
void engine_close(struct engine *e);

/* What a model takes, and what the machine and the cgroups of the process have left; or the device
 * of the backend, if it has memory of its own. */
struct engine_memory {
    size_t weights_bytes, caches_bytes, workspace_bytes, total_bytes;
    size_t available_bytes; /* SIZE_MAX: cannot be told */
    bool is_device;
};

/* Work that out as engine_open() does, which refuses what does not fit, without loading. Errors as
 * from engine_open(); ST_NOT_FOUND: there are no weights. */
MUST_CHECK enum status engine_plan_memory(const struct engine_options *opts,
                                          struct engine_memory *ret, struct error *err);

/* ST_NOMEM, with the numbers, if it does not fit. */
MUST_CHECK enum status engine_check_memory(const struct engine_memory *need, const char *model_dir,
                                           struct error *err);

/* Of a text-only engine, fields that need weights or a backend are zero or NULL. */
const struct model_info *engine_info(const struct engine *e);

/* Sequences in flight at once, at most: as opened. */
int engine_max_batch(const struct engine *e);

/* A chat turn; roles "system", "user", "assistant". Text is UTF-8, borrowed. */
struct engine_message {
    const char *role;
    const char *text;
    size_t text_len;
};

/* Append the rendered conversation plus the generation prompt to ret (Ling template); a last
 * message of the assistant's is left open instead, for the model to continue. */
MUST_CHECK enum status engine_chat(const struct engine *e, const struct engine_message *msgs,
                                   size_t n_msgs, struct buf *ret, struct error *err);

/*
 * Text to ids; special-token strings inside it become their ids, as Hugging Face tokenizers do.
 * No BOS is added. *ret (n ids) lives in arena. Text that is not UTF-8 is ST_INVALID with the
 * byte offset.
 */
MUST_CHECK enum status engine_tokenize(const struct engine *e, const char *text, size_t len,
                                       struct arena *arena, int32_t **ret, size_t *ret_n,
                                       struct error *err);

/* Ids to text, appended to ret: special and unknown ids are dropped when skip_special, bytes
 * that are not UTF-8 become U+FFFD. */
MUST_CHECK enum status engine_detokenize(const struct engine *e, const int32_t *ids, size_t n,
                                         bool skip_special, struct buf *ret, struct error *err);

/* ---- decoding --------------------------------------------------------------------------- */

struct decode_options {
    const char *decoder;   /* a name of engine_decoders() */
    const char *cache;     /* a name of engine_caches() */
    const char *selector;  /* "vanilla", "des-vote:beta=0.4": NAME[:field=value,...] */
    int gen_length;        /* positions to denoise; a multiple of block_length */
    int block_length;      /* of a block-causal model also what its mask is made of */
    int steps;             /* low-confidence: total steps; a multiple of gen_length/block_length;
                            * 0: gen_length of them. block-diffusion: of a block; 0: block_length */
    double threshold;      /* threshold, hierarchy, credit, block-diffusion, edit: commit above this
                            * confidence */
    double low_threshold;  /* hierarchy: the best of a run of masks above this one, too */
    double factor;         /* factor: n at once, if (n + 1)(1 - their confidence) is at most this */
    double edit_threshold; /* edit: replace tokens above this confidence */
    int max_post_steps;    /* edit: forwards of a block that has no mask any more */
    double credit_alpha, credit_decay,
        credit_boost; /* credit: logits rise by alpha ln(1 + C), where
                       * C fades by decay and grows by p^boost */
    /* Iteration smoothing: a masked position is embedded as the mask plus a share of what the
     * forward before expected there. The share of forward n is init + growth n, at most smoothing
     * (0: none), and the threshold at least 1 - decay n. */
    double smoothing, smoothing_init, smoothing_growth, smoothing_decay;
    int prefix_look, after_look; /* vicinity: positions before and behind the block that each
                                  * forward recomputes */
    int cache_warmup;            /* vicinity: forwards of a sequence before there is a cache */
    double temperature;          /* 0: greedy */
    int top_k; /* block-diffusion, edit, with a temperature: sample of so many tokens; 0: of all */
    double top_p;  /* likewise: of the best that together have this probability; 1: of all */
    uint64_t seed; /* of this sequence */
    bool is_eos_early_stop; /* stop after a block that holds EOS; block-diffusion also as soon
                             * as no mask is left before it */
};

/* Defaults of this model: generation_config.json beside it, else the built-in ones. Strings
 * live as long as the engine. */
void engine_decode_defaults(const struct engine *e, struct decode_options *ret);

/* ST_INVALID / ST_UNSUPPORTED with the option named (a file of the selector's is read, which may
 * fail otherwise), for a prompt of n_prompt tokens (0: only
 * the options themselves). */
MUST_CHECK enum status engine_check_decode(const struct engine *e,
                                           const struct decode_options *opts, size_t n_prompt,
                                           struct error *err);

/* How a canvas is laid out. */
struct canvas_shape {
    size_t n_positions; /* prompt, answer and, on a grid, what fills its last block: max_canvas must
                         * be at least this */
    size_t first_block; /* where the first block begins: behind the prompt, or on a grid of
                         * block_length, where the prompt's last tokens may be part of it */
};
/* Of checked options. */
struct canvas_shape engine_canvas(const struct engine *e, const struct decode_options *opts,
                                  size_t n_prompt);

/* steps, or what 0 stands for with this decoder. Of checked options. */
int engine_decode_steps(const struct decode_options *opts);

/* Does the decoder or the cache read the number of this name ("steps", "edit_threshold")? Of
 * checked options. */
bool engine_decode_reads(const struct decode_options *opts, const char *name);

/* Name, one-line help and source of each decoder / cache of this build, NULL-name ended. */
struct engine_choice {
    const char *name, *help, *source;
};
const struct engine_choice *engine_decoders(void);
const struct engine_choice *engine_caches(void);

/* Append the canonical text of a selector ("topk:k=04" is "topk:k=4", "oea:k0=3" is
 * "des-seq:k0=3"): the policy, its budget and what was overridden. Equal texts mean equal settings,
 * as long as a policy's defaults stay, which ENGINE_RESULTS_VERSION is raised for; a file's name is
 * followed by the SHA-256 of what is in it, and ST_MISMATCH where the text named another.
 * ST_INVALID as in engine_check_decode(), but for what only a model can tell. */
MUST_CHECK enum status engine_selector_text(const char *selector, struct buf *ret,
                                            struct error *err);

/* Append all settings that have an effect, defaults included, without the policy's name. */
MUST_CHECK enum status engine_selector_settings(const char *selector, struct buf *ret,
                                                struct error *err);

/* Append the fields that are the selector's budget ("beta=0.4"), or nothing. */
MUST_CHECK enum status engine_selector_budget(const char *selector, struct buf *ret,
                                              struct error *err);

/* Policies of this build, then other names for them. Strings are static. */
struct engine_selector {
    const char *name;
    const char *alias_of;             /* NULL, or the policy; what follows is then NULL */
    const char *help, *source, *open; /* open: what the source leaves open and how it is settled */
};

/* Number i, and append its settings, "FIELD=?" where there is no default. False beyond the last. */
bool engine_selector_get(size_t i, struct engine_selector *ret, struct buf *settings);

/* Fields that settings are made of. */
struct engine_selector_field {
    const char *name, *help;
    const char *read_with; /* settings under which it has an effect; "": always */
};
/* Number i, and append the values it takes. False beyond the last. */
bool engine_selector_field_get(size_t i, struct engine_selector_field *ret, struct buf *values);

/*
 * Append the decoder, or the cache, with every option that it reads ("threshold:threshold=0.9",
 * "vicinity:prefix_look=16,after_look=16,cache_warmup=4", "dual"): of checked options, equal texts
 * mean equal settings.
 */
void engine_decoder_text(const struct decode_options *opts, struct buf *ret);
void engine_cache_text(const struct decode_options *opts, struct buf *ret);

/*
 * Start denoising. The prompt is copied; the strings of opts are read only during the call.
 * At most max_batch sequences may exist at once (ST_INVALID beyond).
 */
MUST_CHECK enum status sequence_start(struct engine *e, const struct decode_options *opts,
                                      const int32_t *prompt, size_t n_prompt, struct sequence **ret,
                                      struct error *err);

/*
 * Advance each of n sequences that is not done by one denoising step: one forward for all. They
 * may be at different blocks and steps, and differ in options. Allocates nothing, but for scratch
 * of the backend until a step was as large as any after it. On failure none of them has moved.
 * ST_INVALID: the model's logits are not finite.
 */
MUST_CHECK enum status engine_step(struct engine *e, struct sequence *const *seqs, size_t n,
                                   struct error *err);

/*
 * For measuring: from the next step on tokens go to experts that are dealt to them rather than to
 * those which the router wants, so that n_tok tokens of a step, the first as well as the following
 * n_tok, go to exactly n_unique experts in each layer. All else is done as ever: the router's
 * scores are taken, weigh the experts, and are what selectors elect by, among the experts dealt.
 * The busiest of 64 gets five times the mean, as trained routers have it. n_unique 0: back to the
 * router's own choice. ST_INVALID: a number that n_tok tokens, or the model's groups of experts, do
 * not allow; ST_NOMEM.
 */
MUST_CHECK enum status engine_deal_experts(struct engine *e, int n_unique, int n_tok,
                                           struct error *err);

/* For measuring: from the next step on tokens are drawn at this temperature, >= 0; 0: the likeliest
 * is taken. */
void sequence_set_temperature(struct sequence *s, double temperature);

bool sequence_is_done(const struct sequence *s);
void sequence_free(struct sequence *s); /* accepts NULL; before engine_close() */

/* Whether the answer came to its end (an EOS, or <|role_end|> where the tokenizer has it, is
 * among the tokens) or was cut at gen_length. */
enum stop_reason { STOP_EOS, STOP_LENGTH };

/* One forward pass of a sequence. */
struct forward_record {
    int block, step;       /* both from 0; step counts within the block */
    int n_tok;             /* tokens that went through the model */
    int n_masked_before;   /* masked positions of the block before it */
    int n_committed;       /* masked ones that took a token */
    int n_edited;          /* others that took another one */
    bool is_cache_refresh; /* it also (re)filled the cache: with other tokens than the block's */
    bool is_merged;        /* with those alone, so that the block's are a step like any other */
    int64_t wall_ns;       /* start of the forward to the end of its commit; a batch's time is
                            * charged to each of its sequences in full */
};

/* One MoE layer of one forward pass of a sequence. */
struct layer_record {
    int n_unique, n_rerouted, n_lost_top1;
    int n_natural; /* unique experts that the model's own routing would have read of these scores */
    int n_core;    /* experts of the coreset; 0: the selector has none */
    double kept_mass;
    int64_t expert_bytes; /* bytes of expert weights read: n_unique times one expert */
    double output_error; /* engine_options.is_diagnosed: |y - y0| / |y0|, of what the experts add to
                          * the sequence's tokens and of the same by the model's own routing; else
                          * NaN */
};

/*
 * What a sequence did; valid until sequence_free(), complete once it is done (until then masks
 * are among the tokens, and n_before_eos, stop and total_ns are not set). Indexing of layers:
 * forward * n_moe_layer + layer; of tokens_per_expert: that times n_exp + expert.
 */
struct generation {
    const int32_t *tokens;      /* (n_positions) generated ids as committed, EOS fill included */
    const int32_t *commit_step; /* (n_positions) index into forwards of the commit, or of the edit
                                 * that was the last; -1: never */
    size_t n_positions;         /* gen_length; those with a commit_step >= 0 were denoised, the
                                 * others filled after an early stop */
    size_t n_before_eos;        /* tokens before the first EOS or <|role_end|> (or all) */
    size_t n_prompt;
    size_t first_block; /* canvas position where block 0 begins: struct canvas_shape */
    enum stop_reason stop;
    const struct forward_record *forwards;
    size_t n_forwards, n_forwards_cache; /* the latter: those with is_cache_refresh */
    const struct layer_record *layers;
    const uint16_t *tokens_per_expert;
    int n_moe_layer, n_exp;
    int64_t first_block_ns, total_ns; /* since sequence_start */
};
const struct generation *sequence_result(const struct sequence *s);

/* ---- times of parts --------------------------------------------------------------------- */

/* A part of a forward: kernels/profile.h lists them. */
struct part_time {
    const char *part; /* "qkv", "moe", ...; static text */
    int layer;        /* -1: a part that no layer has */
    int64_t ns;
    int n_unique; /* part "moe": distinct experts that the step's tokens went to; else 0 */
};

/*
 * The next step runs its forward once more and times the parts of that. Tokens and telemetry are
 * what they would have been, and what it takes counts in no time of a sequence. ST_NOMEM;
 * ST_UNSUPPORTED: opened for text only.
 */
MUST_CHECK enum status engine_time_next(struct engine *e, struct error *err);

struct step_times {
    const struct part_time *parts; /* (n_parts) */
    size_t n_parts;
    int n_tok;       /* of all sequences of the step */
    int64_t took_ns; /* the second run, which is in no other time */
};

/* Of the last step that was timed; its parts are valid until the next. Zeros: none was. */
struct step_times engine_step_times(const struct engine *e);

/* ---- observing -------------------------------------------------------------------------- */

/*
 * What one MoE layer did with the tokens of one sequence in one forward: what its router said and
 * what the selector made of it. Host memory, read-only, valid during the call.
 */
struct layer_view {
    int layer; /* MoE layer, from 0 */
    int n_tok, n_exp, n_slot;
    const int32_t *ids;       /* (n_tok) as the forward read them: masks are the mask token */
    const int32_t *positions; /* (n_tok) canvas positions (the prompt's come first), ascending */
    const float *scores;      /* (n_tok, n_exp) of the router, over all experts, whatever the
                               * selector: softmax probabilities or sigmoid scores */
    const float *importance;  /* (n_tok) L1 norm of what the router read */
    const int32_t *experts;   /* (n_tok, n_slot) that ran, ascending; -1: a slot that none fills */
    const float *weights;     /* (n_tok, n_slot) of their outputs, as used */
};

/*
 * Who is told. Calls come from within engine_step(): for each layer in order, for each of its
 * sequences in the order given. Of sequence_result(s), forwards[n_forwards] is the forward under
 * way, with block, step, n_tok, n_masked_before, is_cache_refresh and is_merged set; the rest is as
 * it was before the step. What was committed is there after it (commit_step). A failure that a call
 * returns ends the step as if the forward had failed: no sequence has moved. Of a step that fails
 * later, some calls have been made.
 */
struct engine_observer {
    enum status (*layer)(void *arg, const struct sequence *s, const struct layer_view *v,
                         struct error *err);
    void *arg;
};

/*
 * Tell an observer (copied; arg is borrowed) from the next step on; NULL: nobody, as after
 * engine_open(). Tokens do not depend on it. With one, scores and routes are copied to the host,
 * memory for which is allocated here: ST_NOMEM; ST_UNSUPPORTED: opened for text only. With none, a
 * layer costs a comparison more.
 */
MUST_CHECK enum status engine_observe(struct engine *e, const struct engine_observer *o,
                                      struct error *err);

/* ---- comparing on the same states ------------------------------------------------------- */

/* A position that was masked before a forward, as a rival and the sequence itself see it. */
struct position_comparison {
    double kl;          /* KL(own || rival's) over the vocabulary, nats */
    double delta_p;     /* the rival's probability of the token that is proposed, less own */
    bool is_same_token; /* both propose the same */
    bool is_flip;       /* one commits it and the other does not, or another token */
};

/* A selector held against a sequence's own, forward by forward. */
struct rival;

/* opts: the sequence's own but for the selector; n_prompt: likewise. Freed before the engine. */
MUST_CHECK enum status rival_new(struct engine *e, const struct decode_options *opts,
                                 size_t n_prompt, struct rival **ret, struct error *err);
void rival_free(struct rival *r); /* accepts NULL */

/*
 * Advance a sequence by one step, as engine_step() does for it alone, and run the same forward (its
 * tokens, its cache as it stands) under each rival. What rivals propose has no effect on it, nor
 * on each other. scratch: block_length times n_vocab.
 */
MUST_CHECK enum status engine_step_rivals(struct engine *e, struct sequence *s,
                                          struct rival *const *rivals, size_t n, float *scratch,
                                          struct error *err);

/* Of the last step. Valid until the next. */
struct rival_view {
    const struct position_comparison *positions; /* (n_positions) masked ones of the block */
    int n_positions;
    const struct layer_record *layers; /* (n_moe_layer) */
    const double *output_errors; /* (n_moe_layer) relative L2 error of what the experts add, to
                                  * the model's own routing of the same input; NULL unless
                                  * opened with is_diagnosed */
};
const struct rival_view *rival_result(const struct rival *r);

/* ---- replaying -------------------------------------------------------------------------- */

/* How the model routes that scores were recorded from. Borrowed until replay_free(). */
struct replay_model {
    int n_layer, n_exp, top_k; /* n_layer: those with routed experts */
    struct model_routing routing;
    const float *bias;          /* (n_layer, n_exp) added to scores for choosing, or NULL */
    int n_known;                /* of a token's scores, as many are right: the largest */
    bool has_importance;        /* each token's L1 norm of the router's input is known */
    int32_t mask_id;            /* -1: none */
    const char *weights_sha256; /* or NULL: not known */
};

/* A forward of a sequence, all of its layers. Borrowed until the next. */
struct replay_forward {
    uint64_t seed;                    /* of the sequence */
    int forward;                      /* from 0; 0 begins a sequence */
    int step;                         /* from 0; 0 begins a block */
    bool is_cache_refresh, is_merged; /* struct forward_record */
    int block_start, block_length;    /* canvas positions of the block under way */
    int n_tok;                        /* >= 1 */
    const int32_t *ids, *positions;
};

/* What a selector makes of a layer; arrays are valid until the next call. */
struct replay_layer {
    int n_unique, n_natural, n_core; /* experts that run; would, naturally; the coreset, 0: none */
    int n_rerouted, n_lost_top1;
    double kept_mass;
    int n_slot;
    const int32_t *experts;           /* (n_tok, n_slot) ascending, then -1 */
    const float *weights;             /* beside them */
    const int32_t *tokens_per_expert; /* (n_exp) */
};

/*
 * Recorded scores through a selector: backend `ref` routes them as a forward pass would have.
 * ST_INVALID, ST_UNSUPPORTED name the selector: one that the model does not take, or that reads
 * what was not recorded. A file of the selector's may fail otherwise.
 */
struct replay;
MUST_CHECK enum status replay_new(const struct replay_model *m, const char *selector,
                                  struct replay **ret, struct error *err);
void replay_free(struct replay *r); /* accepts NULL */

/* A forward begins, in the order they were recorded in; its layers follow, in any order. */
MUST_CHECK enum status replay_begin(struct replay *r, const struct replay_forward *f,
                                    struct error *err);

/* scores (n_tok, n_exp); importance (n_tok), or NULL where the model has none. */
MUST_CHECK enum status replay_route(struct replay *r, int layer, const float *scores,
                                    const float *importance, struct replay_layer *ret,
                                    struct error *err);

#endif
