/*
 * fewshot.json: the worked examples of published prompt forms, read out of the configuration files
 * that publish them. The table says where each part stands; nothing of its text is ours.
 *
 * Configurations of OpenCompass assign a prompt template, a list of turns, to a variable of a
 * Python module; lm-eval has a Python function that returns a list, or YAML. Each part is pinned by
 * the SHA-256 of its canonical JSON, as files with other wordings go by the same names: lm-eval's
 * minerva_math held its examples in one text before, a dInfer fork has no examples in its file.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/yaml.h"
#include "tasks/internal.h"
#include "tasks/python_literal.h"

enum syntax {
    SYNTAX_TEMPLATE, /* a Python module: VARIABLE.prompt_template.template.round, turns */
    SYNTAX_FUNCTION, /* a Python module: what FUNCTION returns, examples */
    SYNTAX_YAML      /* fewshot_config.samples, examples */
};

struct recipe {
    struct fewshot_part part;
    enum syntax syntax;
    const char *name;      /* of the variable or function */
    const char *fields[2]; /* of an example, kept under these names */
    const char *source;    /* goes into the file */
    const char *sha256;    /* of the part */
};

#define GITHUB "https://raw.githubusercontent.com/"
#define OPENCOMPASS GITHUB "open-compass/opencompass/"
#define LM_EVAL GITHUB "EleutherAI/lm-evaluation-harness/"

#define ADDRESSES(...)                                                                             \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }

/* In the order of the file. */
static const struct recipe recipes[] = {
    {
        .part = { .key = "gsm8k_opencompass_4shot",
                  .addresses = ADDRESSES(OPENCOMPASS "b2e2a3342c64f79468c17f15ed0c33ec201601cd/"
                                                     "configs/datasets/gsm8k/"
                                                     "gsm8k_gen_1d7fe4.py") },
        .syntax = SYNTAX_TEMPLATE,
        .name = "gsm8k_infer_cfg",
        .source = "OpenCompass gsm8k_gen_1d7fe4 (LLaDA official)",
        .sha256 = "a63ee28b6d614e735c06e38656ac712b63870f42eba2d8398500649b0928fb8c",
    },
    {
        .part = { .key = "math_opencompass_4shot",
                  .addresses = ADDRESSES(OPENCOMPASS "116536f3e776fc28f8fa4023c1eaa3d34dfba8ec/"
                                                     "opencompass/configs/datasets/math/"
                                                     "math_gen_a58d9d.py") },
        .syntax = SYNTAX_TEMPLATE,
        .name = "math_infer_cfg",
        .source = "OpenCompass math_gen_a58d9d (LLaDA-8B-Base official); the doubled braces reach "
                  "the model as written, since the formatter only substitutes {problem}",
        .sha256 = "7116a217d87eeca270ed57ca4dab24408913a4f7119a2a29fd440e94a9755828",
    },
    {
        .part = { .key = "mbpp_opencompass_3shot",
                  .addresses = ADDRESSES(OPENCOMPASS "3ce9b0a4eeee786819f7a35717c974b7d0423d33/"
                                                     "opencompass/configs/datasets/mbpp/"
                                                     "mbpp_gen_830460.py") },
        .syntax = SYNTAX_TEMPLATE,
        .name = "mbpp_infer_cfg",
        .source = "OpenCompass mbpp_gen_830460 (LLaDA official)",
        .sha256 = "027f59441fc90cc93dcb5e2168655ba3a29a676f0e0ff4cd8dfffbcc3a94ccd4",
    },
    {
        .part = { .key = "mbpp_opencompass_mdblock_3shot",
                  .addresses = ADDRESSES(OPENCOMPASS "5f3ae7e78a8273f29ec3e824731d13203696fa0c/"
                                                     "opencompass/configs/datasets/mbpp/"
                                                     "sanitized_mbpp_mdblock_gen_a447ff.py") },
        .syntax = SYNTAX_TEMPLATE,
        .name = "sanitized_mbpp_infer_cfg",
        .source = "OpenCompass sanitized_mbpp_mdblock_gen_a447ff",
        .sha256 = "21be20aa0a881430743be177fcd9085f72c95e5cfab289270779c16e0e8f271a",
    },
    {
        .part = { .key = "minerva_math_lm_eval_4shot",
                  .addresses = ADDRESSES(LM_EVAL "478562342bc95d21cf894a6975b50e2463eaaa31/"
                                                 "lm_eval/tasks/minerva_math/utils.py") },
        .syntax = SYNTAX_FUNCTION,
        .name = "list_fewshot_samples",
        .fields = { "problem", "solution" },
        .source = "lm-evaluation-harness minerva_math",
        .sha256 = "282baf3eb5cc1fe7770ed1e066698296980f10a20dd623f9cf6fef401066a3e6",
    },
    {
        .part = { .key = "gsm8k_cot_lm_eval_8shot",
                  .addresses = ADDRESSES(LM_EVAL "b8d1d4fd057f6223c4490613f0a38cb5d75a3183/"
                                                 "lm_eval/tasks/gsm8k/gsm8k-cot.yaml") },
        .syntax = SYNTAX_YAML,
        .fields = { "question", "target" },
        .source = "lm-evaluation-harness gsm8k_cot",
        .sha256 = "ee56a7d490f671fff7fc1b8109376cbd490d918be313080211a3f7643ab400f3",
    },
    {
        /* the same four examples stand in upstream's file for LLaDA 1.5; gsm8k-llada-moe.yaml
         * itself is in a fork */
        .part = { .key = "gsm8k_dinfer_4shot",
                  .addresses = ADDRESSES(GITHUB "zhaoyizhou1123/dInfer/"
                                                "09e051cc4fad757bb67f69a3c7e8fa36f2fe06af/"
                                                "evaluations/tasks/gsm8k/gsm8k-llada-moe.yaml",
                                         GITHUB "inclusionAI/dInfer/"
                                                "91925e1f1f39f607d897ec0c33ac894e822bfe4b/"
                                                "evaluations/tasks/gsm8k/gsm8k-llada.yaml") },
        .syntax = SYNTAX_YAML,
        .fields = { "question", "answer" },
        .source = "dInfer gsm8k-llada-moe.yaml (two products lost their * in shot 3)",
        .sha256 = "40128cadf554f4c168d0aa85b7e5aec2323f12d8aa1a49e5777b57869e64a567",
    },
};

enum { N_PARTS = sizeof(recipes) / sizeof(recipes[0]) };

struct fewshot {
    json_t *parts[N_PARTS]; /* NULL: not there yet */
};

size_t fewshot_n_parts(void)
{
    return N_PARTS;
}

const struct fewshot_part *fewshot_part(size_t index)
{
    return &recipes[index].part;
}

struct fewshot *fewshot_new(void)
{
    return calloc(1, sizeof(struct fewshot));
}

void fewshot_free(struct fewshot *f)
{
    for (size_t i = 0; f && i < N_PARTS; i++)
        json_decref(f->parts[i]);
    free(f);
}

/* ---- one part --------------------------------------------------------------------------- */

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory reading few-shot examples");
}

/* A list of objects with two texts each, copied under other names. */
static enum status copy_texts(const json_t *list, const char *name, const char *const from[2],
                              const char *const to[2], json_t **ret, struct error *err)
{
    json_t *copy = json_array();
    struct buf at = { 0 };
    enum status st = copy ? ST_OK : no_memory(err);

    for (size_t i = 0; !st && i < json_array_size(list); i++) {
        const char *texts[2];
        json_t *item;

        buf_clear(&at);
        buf_printf(&at, "'%s' example %zu", name, i);
        for (int k = 0; k < 2 && !st; k++)
            st = json_get_str(json_array_get(list, i), buf_str(&at), from[k], &texts[k], NULL, err);
        if (st)
            break;
        item = json_pack("{s:s, s:s}", to[0], texts[0], to[1], texts[1]);
        if (!item || json_array_append_new(copy, item) != 0)
            st = no_memory(err);
    }
    buf_release(&at);
    if (st)
        json_decref(copy);
    else
        *ret = copy;
    return st;
}

/* Down two levels of objects to a list, borrowed. */
static enum status get_list(const json_t *v, const char *name, const char *const path[3],
                            json_t **ret, struct error *err)
{
    json_t *inner = NULL;

    for (; path[1]; path++) {
        enum status st = json_get_object(v, name, path[0], &inner, err);

        if (st)
            return st;
        v = inner;
    }
    return json_get_array(v, name, path[0], ret, err);
}

static enum status read_source(const struct recipe *r, struct span text, const char *name,
                               json_t **ret, struct error *err)
{
    static const char *const template_path[] = { "prompt_template", "template", "round", NULL };
    static const char *const yaml_path[] = { "fewshot_config", "samples", NULL };
    static const char *const turn_from[2] = { "role", "prompt" }, *const turn_to[2] = { "role",
                                                                                        "text" };
    json_t *v = NULL, *list = NULL;
    enum status st;

    if (r->syntax == SYNTAX_YAML)
        st = yaml_parse(text.s, text.len, name, &v, err);
    else
        st = python_literal_read(text, name,
                                 r->syntax == SYNTAX_TEMPLATE ? PYTHON_ASSIGNED : PYTHON_RETURNED,
                                 r->name, &v, err);
    if (!st && r->syntax == SYNTAX_FUNCTION) {
        list = v;
        if (!json_is_array(list))
            st =
                error_set(err, ST_INVALID, "'%s': function '%s' must return a list", name, r->name);
    } else if (!st) {
        st = get_list(v, name, r->syntax == SYNTAX_YAML ? yaml_path : template_path, &list, err);
    }
    if (!st && r->syntax == SYNTAX_TEMPLATE)
        st = copy_texts(list, name, turn_from, turn_to, ret, err);
    else if (!st)
        st = copy_texts(list, name, r->fields, r->fields, ret, err);
    json_decref(v);
    return st;
}

enum status fewshot_add(struct fewshot *f, size_t index, const char *text, size_t len,
                        const char *name, struct error *err)
{
    const struct recipe *r = &recipes[index];
    json_t *list = NULL, *part;
    char sha256[65];
    enum status st = read_source(r, (struct span){ text, len }, name, &list, err);

    if (st)
        return st;
    part = json_pack("{s:s, s:o}", "source", r->source,
                     r->syntax == SYNTAX_TEMPLATE ? "turns" : "shots", list);
    if (!part)
        return no_memory(err);
    st = hash_json(part, sha256, err);
    if (!st && strcmp(sha256, r->sha256) != 0)
        st = error_set(err, ST_MISMATCH,
                       "'%s' does not hold the examples '%s' that scores are compared on: their "
                       "SHA-256 is %s, expected %s",
                       name, r->part.key, sha256, r->sha256);
    if (st) {
        json_decref(part);
        return st;
    }
    json_decref(f->parts[index]);
    f->parts[index] = part;
    return ST_OK;
}

enum status fewshot_print(const struct fewshot *f, struct buf *ret, struct error *err)
{
    json_t *all = json_object();
    enum status st = all ? ST_OK : no_memory(err);

    for (size_t i = 0; !st && i < N_PARTS; i++) {
        if (!f->parts[i])
            st = error_set(err, ST_NOT_FOUND, "the examples '%s' are missing", recipes[i].part.key);
        else if (json_object_set(all, recipes[i].part.key, f->parts[i]) != 0)
            st = no_memory(err);
    }
    if (!st) {
        json_put_value(ret, all, JSON_INDENT(1));
        st = buf_ok(ret) ? ST_OK : no_memory(err);
    }
    json_decref(all);
    return st;
}
