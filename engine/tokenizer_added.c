/*
 * Added tokens: finding them in a text as Hugging Face tokenizers' AddedVocabulary does, with
 * its single_word, lstrip and rstrip rules.
 */
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "base/utf8.h"
#include "engine/pretokenize.h"
#include "engine/tokenizer_impl.h"

struct trie_node {
    uint32_t child, sibling; /* indices of nodes, 0: none */
    uint32_t token;          /* index + 1 of the token that ends here, 0: none */
    unsigned char byte;
};

void added_set_release(struct added_set *a)
{
    free(a->tokens);
    free(a->nodes);
    *a = (struct added_set){ 0 };
}

/* Make room for one more element of an array. */
static bool grow(void **data, size_t n, size_t *cap, size_t size)
{
    size_t want = *cap ? *cap : 32, bytes;
    void *p;

    if (n < *cap)
        return true;
    if (!size_mul(want, 2, &want) || !size_mul(want, size, &bytes) || !(p = realloc(*data, bytes)))
        return false;
    *data = p;
    *cap = want;
    return true;
}

/* Child of node for a byte, 0: none. */
static uint32_t trie_child(const struct added_set *a, uint32_t node, unsigned char byte)
{
    uint32_t child;

    if (!node)
        return a->root[byte];
    for (child = a->nodes[node].child; child; child = a->nodes[child].sibling)
        if (a->nodes[child].byte == byte)
            break;
    return child;
}

static bool trie_new_node(struct added_set *a, uint32_t parent, unsigned char byte, uint32_t *ret)
{
    void *p = a->nodes;

    if (a->n_nodes >= UINT32_MAX - 1 || !grow(&p, a->n_nodes, &a->nodes_cap, sizeof(*a->nodes)))
        return false;
    a->nodes = p;
    *ret = (uint32_t)a->n_nodes++;
    a->nodes[*ret] = (struct trie_node){ .byte = byte };
    if (!parent) {
        a->root[byte] = *ret;
    } else {
        a->nodes[*ret].sibling = a->nodes[parent].child;
        a->nodes[parent].child = *ret;
    }
    return true;
}

bool added_set_add(struct added_set *a, const struct added_token *token)
{
    void *p = a->tokens;
    uint32_t node = 0;

    /* node 0 is the root, whose children are in root[]; as a child, 0 stands for none */
    if (!a->n_nodes && !trie_new_node(a, 0, 0, &node))
        return false;
    if (!grow(&p, a->n_tokens, &a->tokens_cap, sizeof(*a->tokens)))
        return false;
    a->tokens = p;
    for (size_t i = 0; i < token->len; i++) {
        unsigned char byte = (unsigned char)token->content[i];
        uint32_t child = trie_child(a, node, byte);

        if (!child && !trie_new_node(a, node, byte, &child))
            return false;
        node = child;
    }
    a->tokens[a->n_tokens] = *token;
    a->nodes[node].token = (uint32_t)++a->n_tokens;
    return true;
}

/* The longest token that starts at `at`, or NULL. */
static const struct added_token *match_at(const struct added_set *a, const char *text, size_t len,
                                          size_t at)
{
    uint32_t node = 0, token = 0;

    while (at < len && (node = trie_child(a, node, (unsigned char)text[at]))) {
        if (a->nodes[node].token)
            token = a->nodes[node].token;
        at++;
    }
    return token ? &a->tokens[token - 1] : NULL;
}

/* Start of the character before `at`, at > 0. */
static size_t char_before(const char *text, size_t at, uint32_t *ret)
{
    size_t start = at - 1;

    while (start && ((unsigned char)text[start] & 0xc0) == 0x80)
        start--;
    utf8_decode(text + start, at - start, ret);
    return start;
}

/* Does no word character touch text[start, end)? */
static bool is_single_word(const struct added_scan *s, size_t start, size_t end)
{
    uint32_t c = 0;

    if (start) {
        char_before(s->text, start, &c);
        if (unicode_is_word(c))
            return false;
    }
    if (end < s->len) {
        utf8_decode(s->text + end, s->len - end, &c);
        if (unicode_is_word(c))
            return false;
    }
    return true;
}

/* Where white space that ends at `at` starts, not before `floor`. */
static size_t strip_left(const struct added_scan *s, size_t at, size_t floor)
{
    uint32_t c = 0;

    while (at > floor) {
        size_t start = char_before(s->text, at, &c);

        if (!unicode_is_space(c))
            break;
        at = start;
    }
    return at;
}

/* Where white space that starts at `at` ends. */
static size_t strip_right(struct added_scan *s, size_t at)
{
    uint32_t c = 0;

    if (at >= s->space_start && at < s->space_end)
        return s->space_end;
    s->space_start = at;
    while (at < s->len) {
        int n = utf8_decode(s->text + at, s->len - at, &c);

        if (!n || !unicode_is_space(c))
            break;
        at += (size_t)n;
    }
    s->space_end = at;
    return at;
}

void added_scan_init(struct added_scan *s, const struct added_set *set, const char *text,
                     size_t len)
{
    *s = (struct added_scan){ .set = set, .text = text, .len = len };
}

/*
 * A match that single_word turns down is skipped whole: shorter ones inside it are not tried.
 * White space that rstrip takes may hold the start of the next match, which then counts all the
 * same; `plain` can so lie behind a match's start, and moves back to its end. All as Hugging
 * Face's find_matches().
 */
bool added_scan_next(struct added_scan *s, struct added_span *ret)
{
    if (s->is_done)
        return false;
    while (s->set->n_tokens && s->search < s->len) {
        size_t start = s->search, end;
        const struct added_token *t = match_at(s->set, s->text, s->len, start);

        if (!t) {
            s->search++;
            continue;
        }
        end = start + t->len;
        s->search = end;
        if (t->single_word && !is_single_word(s, start, end))
            continue;
        if (t->lstrip)
            start = start > s->plain ? strip_left(s, start, s->plain) : s->plain;
        if (t->rstrip)
            end = strip_right(s, end);
        *ret = (struct added_span){ .start = s->plain, .end = start, .id = t->id };
        if (ret->end < ret->start)
            ret->end = ret->start;
        s->plain = end;
        return true;
    }
    s->is_done = true;
    *ret = (struct added_span){ .start = s->plain, .end = s->len, .id = -1 };
    return true;
}
