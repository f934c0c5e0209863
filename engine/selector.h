/*
 * Expert selectors: which experts a token may be routed to.
 *
 * A policy is a row of settings of one routing pipeline (kernels/route.h); text names a policy and
 * overrides its fields: "vanilla", "topk:k=4", "des-vote:beta=0.4,vote=count". Every policy takes
 * every field, as long as something reads it. Parsing gives a struct selector, which together with
 * the model's own routing becomes the struct route_params of a forward.
 *
 * Adding a policy is adding a row to the table in selector_table.c, and, where it needs a new
 * setting, a field there.
 */
#ifndef ENGINE_SELECTOR_H
#define ENGINE_SELECTOR_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/status.h"
#include "engine/engine.h"
#include "kernels/kernels.h"

/* Settings in the order they are printed in. selector_fields has names, values and meanings. */
enum selector_field {
    SEL_K,
    SEL_KEEP,
    SEL_SIZE,
    SEL_BETA,
    SEL_M,
    SEL_P,
    SEL_P_OF,
    SEL_TAIL,
    SEL_PROTECT,
    SEL_FLOOR,
    SEL_K0,
    SEL_ELECT,
    SEL_VOTE,
    SEL_VOTE_NORM,
    SEL_MASK,
    SEL_MASK_GROUP,
    SEL_VOTERS,
    SEL_SCOPE,
    SEL_PREFILL,
    SEL_LAG,
    SEL_OUTSIDE,
    SEL_GROUP,
    SEL_GUARD,
    SEL_RENORM,
    SEL_SEED,
    SEL_FILE,
    N_SELECTOR_FIELDS
};

/* Values of fields that take words, where kernels/route.h has no enum of the same order. */
enum { VOTERS_ALL, VOTERS_BLOCK, VOTERS_MASKED };
enum { PREFILL_OFF, PREFILL_ON, PREFILL_BLOCKS };
enum { SCOPE_SEQUENCE, SCOPE_BATCH };

enum field_kind { FIELD_INT, FIELD_NUMBER, FIELD_WORD, FIELD_TEXT };

struct selector_field_row {
    const char *name;
    enum field_kind kind;
    double min, max;   /* whatever the model; selector_route() narrows them */
    const char *words; /* FIELD_WORD: "a|b|c", of the values 0, 1, 2 */
    const char *zero;  /* FIELD_INT: the word for 0, beside min .. max; or NULL */
    const char *help;
    const char *read_with; /* settings under which anything reads it; "": always */
    const char *full;      /* FIELD_INT: the word for max, or NULL */
};
extern const struct selector_field_row selector_fields[N_SELECTOR_FIELDS];

struct selector_policy {
    const char *name;
    const char *help, *source;
    const char *open; /* what the source leaves open, and how it is settled here */
    unsigned needs;   /* fields without a default: bits 1 << enum selector_field */
    unsigned budget;  /* fields that are its budget: always printed, where they have a value */
    double v[N_SELECTOR_FIELDS];
};
/* NULL-name ended. */
extern const struct selector_policy selector_policies[];

/* Other names of policies, NULL-name ended. */
struct selector_alias {
    const char *name, *of;
};
extern const struct selector_alias selector_aliases[];

/* Settings, independent of any model. */
struct selector {
    const struct selector_policy *policy;
    double v[N_SELECTOR_FIELDS]; /* integers and words exactly; SEL_BETA, SEL_M and SEL_P: 0 is not
                                  * given */
    const char *file;            /* SEL_FILE, or NULL; file_len bytes within the parsed text */
    size_t file_len;
    const char
        *file_sha256; /* after "@sha256:" behind the file, or NULL: SELECTOR_SHA_LEN digits */
};

enum { SELECTOR_SHA_LEN = 16 };

/*
 * Parse NAME[:field=value,...]; ret points into text. ST_INVALID: an unknown policy (the message
 * lists the known ones) or field; a field given twice, not a value of its kind, out of range, or
 * read by nothing under these settings; a needed one that is missing; settings that contradict
 * each other.
 */
MUST_CHECK enum status selector_parse(const char *text, struct selector *ret, struct error *err);

/* The model's own routing as the selector changes it, for a forward that decodes. ST_INVALID: a
 * setting that does not fit the model, with the limit named. `vanilla` returns *model unchanged. */
MUST_CHECK enum status selector_route(const struct selector *s, const struct route_params *model,
                                      struct route_params *ret, struct error *err);

/* Does anything read the field under these settings? */
bool selector_reads(const struct selector *s, enum selector_field f);

/* Append the one text that stands for these settings: the policy, its budget, and what differs
 * from its row. Parsing it gives the same settings. */
void selector_put(const struct selector *s, struct buf *ret);

/* Append every field that is read, with its value. */
void selector_put_settings(const struct selector *s, struct buf *ret);

/* Append the settings of a row, "FIELD=?" for those without a default. */
void selector_put_row(const struct selector_policy *p, struct buf *ret);

/* Append the values of the policy's budget alone: "beta=0.4"; nothing where it has none. */
void selector_put_budget(const struct selector *s, struct buf *ret);

#endif
