/*
 * The files of the data folder: names, hashes, and where they are to be had.
 *
 * Bytes are pinned by SHA-256; upstream's addresses name commits, so that they keep meaning those
 * bytes. Copies elsewhere may be laid out differently, and the bytes pinned for sanitized-mbpp.json
 * are a rewriting of the records in upstream's layout that was never compared with a download.
 * Those files are pinned by content as well: SHA-256 of the JSON value with keys sorted and no
 * white space, in UTF-8, of JSON lines as one array.
 */
#include <assert.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "tasks/internal.h"

#define GITHUB "https://raw.githubusercontent.com/"
#define MBPP_AT                                                                                    \
    GITHUB "google-research/google-research/30adf0ec5f35f9609c2f1d896005e184195d9146/mbpp/"
#define GSM8K_AT                                                                                   \
    GITHUB "openai/grade-school-math/3101c7d5072418e28b9008a6636bde82a006892c/"                    \
           "grade_school_math/data/"
/* files in Git LFS are served from here */
#define GITHUB_LFS "https://media.githubusercontent.com/media/"
/* copies: their branches may move, their content is checked */
#define HUGGING_FACE "https://huggingface.co/datasets/"

#define ADDRESSES(...)                                                                             \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }

const struct data_file data_files[N_DATA_FILES] = {
    [DATA_HUMANEVAL] = {
        .name = "HumanEval.jsonl.gz",
        .title = "HumanEval",
        .bytes = 44877,
        .sha256 = "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef",
        .addresses = ADDRESSES(GITHUB "openai/human-eval/6d43fb980f9fee3c892a914eda09951f772ad10d/"
                                      "data/HumanEval.jsonl.gz"),
    },
    [DATA_HUMANEVAL_PRO] = {
        .name = "humaneval_pro.json",
        .title = "HumanEval Pro",
        .bytes = 277552,
        .sha256 = "d67ad94366d8182804d8cb59de558d211072493b13a6c23ddda42a2e1367dc7a",
        .addresses =
            ADDRESSES(GITHUB "CodeEval-Pro/CodeEval-Pro/36f292eafc597b38535fbc8b4aafea8e5c654e3c/"
                             "dataset/humaneval_pro.json"),
    },
    [DATA_MBPP] = {
        .name = "mbpp.jsonl",
        .title = "MBPP",
        .bytes = 563743,
        .sha256 = "ccf64ceae9c5403bf50a044cb6d505bfd2a2963ee58338ba268fd65beab92a9f",
        .addresses = ADDRESSES(MBPP_AT "mbpp.jsonl"),
    },
    [DATA_MBPP_SANITIZED] = {
        .name = "sanitized-mbpp.json",
        .title = "MBPP sanitized",
        .bytes = 255053,
        .sha256 = "ca95deaa9a01ef0a6f439f88bcf0dd3db3563d22f22aad6cae04ebb9a8d8c8e9",
        .record_sha256 = "0a16f33d2b664db4e3a55acceaf7aad487e1841828174a7ee91734501e9de00f",
        .addresses = ADDRESSES(MBPP_AT "sanitized-mbpp.json",
                               HUGGING_FACE
                               "Muennighoff/mbpp/resolve/main/data/sanitized-mbpp.json"),
    },
    [DATA_GSM8K] = {
        .name = "gsm8k_test.jsonl",
        .title = "GSM8K",
        .bytes = 749738,
        .sha256 = "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14",
        .addresses = ADDRESSES(GSM8K_AT "test.jsonl"),
    },
    [DATA_GSM8K_TRAIN] = {
        .name = "gsm8k_train.jsonl",
        .title = "GSM8K, training split",
        .bytes = 4166206,
        .sha256 = "17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465",
        .addresses = ADDRESSES(GSM8K_AT "train.jsonl"),
    },
    [DATA_MATH500] = {
        .name = "math500.jsonl",
        .title = "MATH500",
        .bytes = 446564,
        .sha256 = "35dc41080a3680858b27fa7e0533d2d547825316fc5dafe5d316f4ccc5a06132",
        .record_sha256 = "06dd3b4208ad8399004c9367f194de82418e4f545319fa23c02c002665228798",
        .addresses =
            ADDRESSES(GITHUB_LFS "openai/prm800k/7ecc794703b2877f63226f2477a49b34f9b25163/"
                                 "prm800k/math_splits/test.jsonl",
                      HUGGING_FACE "HuggingFaceH4/MATH-500/resolve/main/test.jsonl"),
    },
    [DATA_FEWSHOT] = {
        .name = "fewshot.json",
        .title = "few-shot examples",
        .bytes = 21458,
        .sha256 = "e0ce275c67ef388148d3a999b5f74b4771941367f2df687f4d8e0b6419bb0bd5",
        .record_sha256 = "73336c353b430c73cb7f23931eabd761d0fb72702571d8bb066c24ea76074659",
        .addresses = (const char *const[]){ NULL },
    },
};

const struct data_file *const *data_table(void)
{
    static const struct data_file *const table[] = {
        &data_files[DATA_HUMANEVAL],
        &data_files[DATA_HUMANEVAL_PRO],
        &data_files[DATA_MBPP],
        &data_files[DATA_MBPP_SANITIZED],
        &data_files[DATA_GSM8K],
        &data_files[DATA_GSM8K_TRAIN],
        &data_files[DATA_MATH500],
        &data_files[DATA_FEWSHOT],
        NULL,
    };

    _Static_assert(sizeof(table) / sizeof(table[0]) == N_DATA_FILES + 1, "every file is listed");
    return table;
}

const struct data_file *data_find(const char *name)
{
    for (int i = 0; i < N_DATA_FILES; i++)
        if (strcmp(data_files[i].name, name) == 0)
            return &data_files[i];
    return NULL;
}

/* Does a name say JSON lines? */
static bool is_lines(const char *name)
{
    static const char suffix[] = ".jsonl";
    size_t n = strlen(name), m = strlen(suffix);

    return n > m && strcmp(name + n - m, suffix) == 0;
}

enum status data_check(const struct data_file *f, const char *bytes, size_t len,
                       enum data_state *ret, char ret_sha256[65], struct error *err)
{
    struct span text = { bytes, len };
    json_t *records = NULL;
    char sha256[65];
    enum status st = sha256_hex(bytes, len, sha256, err);

    if (st)
        return st;
    memcpy(ret_sha256, sha256, sizeof(sha256));
    *ret = strcmp(sha256, f->sha256) == 0 ? DATA_RIGHT : DATA_WRONG;
    if (*ret == DATA_RIGHT || !f->record_sha256)
        return ST_OK;
    st = records_parse(text, is_lines(f->name), f->name, &records, err);
    if (!st)
        st = hash_json(records, sha256, err);
    if (!st && strcmp(sha256, f->record_sha256) == 0)
        *ret = DATA_RIGHT_RECORDS;
    json_decref(records);
    return st == ST_INVALID ? ST_OK : st;
}

size_t task_files(const struct task_def *def, const struct data_file *ret[TASK_MAX_FILES])
{
    const struct task_form *form;
    size_t n = 0;

    if (def->data)
        ret[n++] = def->data;
    for (size_t i = 0; (form = task_form_get(def, i)) != NULL; i++) {
        const struct data_file *f = form->needs ? data_find(form->needs) : NULL;
        bool is_new = f != NULL;

        for (size_t k = 0; k < n; k++)
            is_new = is_new && ret[k] != f;
        assert(!is_new || n < TASK_MAX_FILES);
        if (is_new)
            ret[n++] = f;
    }
    return n;
}
