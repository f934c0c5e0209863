/* Expert selectors: the tables of fields and of policies. docs/selectors.md explains them. */
#include "engine/selector.h"

#define TABLE1 "arXiv:2602.00879 (DES)"

const struct selector_field_row selector_fields[N_SELECTOR_FIELDS] = {
    [SEL_K] = { "k", FIELD_INT, 1, KERNEL_MAX_TOP_K, NULL, "model",
                "experts a token runs at most; model: its own top-k", "" },
    [SEL_KEEP] = { "keep", FIELD_WORD, 0, 0, "all|topp|tail", NULL,
                   "slots a token uses: all; topp: the fewest whose scores reach share p; tail: "
                   "without the last ones that are together below share tail of the slots' scores",
                   "" },
    [SEL_SIZE] = { "size", FIELD_WORD, 0, 0, "none|union|fixed|topp", NULL,
                   "the coreset: none; union: each voter's first k0; fixed: filled up to beta or "
                   "m; "
                   "topp: the best-voted up to share p of all votes",
                   "" },
    [SEL_BETA] = { "beta", FIELD_NUMBER, 0, 1, NULL, NULL,
                   "experts in the coreset as a share of the model's, rounded down", "size=fixed" },
    [SEL_M] = { "m", FIELD_INT, 1, KERNEL_MAX_EXPERTS, NULL, NULL,
                "experts in the coreset, instead of beta", "size=fixed" },
    [SEL_P] = { "p", FIELD_NUMBER, 0, 1, NULL, NULL,
                "share that topp keeps: of the votes with size, of a token's scores with keep",
                "size=topp or keep=topp" },
    [SEL_P_OF] = { "p_of", FIELD_WORD, 0, 0, "all|topk", NULL,
                   "p is a share of the token's scores of all experts, or of its top k",
                   "keep=topp" },
    [SEL_TAIL] = { "tail", FIELD_NUMBER, 0, 1, NULL, NULL, "share below which the tail is left out",
                   "keep=tail" },
    [SEL_PROTECT] = { "protect", FIELD_NUMBER, 0, 1, NULL, NULL,
                      "share of a sequence's tokens, rounded down, that keep all slots: those of "
                      "the largest layer input, by L1 norm",
                      "keep=topp or keep=tail" },
    [SEL_FLOOR] = { "floor", FIELD_INT, 0, KERNEL_MAX_EXPERTS, NULL, NULL,
                    "experts that are elected at least", "size=topp" },
    [SEL_K0] = { "k0", FIELD_INT, 0, KERNEL_MAX_TOP_K, NULL, NULL,
                 "each voter's first experts that are in the coreset whatever the votes, even "
                 "beyond its size",
                 "size=union, fixed or topp" },
    [SEL_ELECT] = { "elect", FIELD_WORD, 0, 0, "votes|mass|random|static", NULL,
                    "what experts are elected by: votes; mass: one by one, what adds most to the "
                    "scores that voters keep; random; static: the counts in file",
                    "size=fixed" },
    [SEL_VOTE] = { "vote", FIELD_WORD, 0, 0, "prob|biased|logit|rank|count", NULL,
                   "a vote's weight: the score; score plus the model's selection bias; the score "
                   "before softmax or sigmoid; mask, mask-1, ..., 1 by rank; 1",
                   "votes" },
    [SEL_VOTE_NORM] = { "vote_norm", FIELD_WORD, 0, 0, "all|topk", NULL,
                        "votes as they are, or divided by the sum of the token's votes", "votes" },
    [SEL_MASK] = { "mask", FIELD_INT, 1, KERNEL_MAX_EXPERTS, NULL, "k",
                   "experts a token votes for; k: the model's top-k", "votes", "all" },
    [SEL_MASK_GROUP] = { "mask_group", FIELD_WORD, 0, 0, "model|lift", NULL,
                         "votes within the model's limit of groups, or without it", "votes" },
    [SEL_VOTERS] = { "voters", FIELD_WORD, 0, 0, "all|block|masked", NULL,
                     "tokens that vote: of the forward; of the block; still masked ones of the "
                     "block. Where there are none, all do",
                     "votes, k0 or elect=mass" },
    [SEL_SCOPE] = { "scope", FIELD_WORD, 0, 0, "sequence|batch", NULL,
                    "a coreset for each sequence, or one for all that share a forward (answers "
                    "then "
                    "depend on the batch)",
                    "size=union, fixed or topp" },
    [SEL_PREFILL] = { "prefill", FIELD_WORD, 0, 0, "off|on|blocks", NULL,
                      "in forwards that fill a cache: the model's own routing; as in others; a "
                      "coreset for each block_length tokens",
                      "any change of the routing" },
    [SEL_LAG] = { "lag", FIELD_INT, 0, 1, NULL, NULL,
                  "1: run by the coreset that the block's forward before elected",
                  "size=union, fixed or topp" },
    [SEL_OUTSIDE] = { "outside", FIELD_WORD, 0, 0, "reroute|truncate", NULL,
                      "slots outside the coreset go to the token's best inside, or stay empty",
                      "size=union, fixed or topp" },
    [SEL_GROUP] = { "group", FIELD_WORD, 0, 0, "natural|members|lift", NULL,
                    "inside the coreset a token keeps the groups of experts that it has without "
                    "one; "
                    "those that are best by their members in it; all",
                    "outside=reroute" },
    [SEL_GUARD] = { "guard", FIELD_WORD, 0, 0, "widen|drop", NULL,
                    "slots that the kept groups cannot fill from the coreset go to its other "
                    "members, or stay empty",
                    "group=natural or members" },
    [SEL_RENORM] = { "renorm", FIELD_WORD, 0, 0, "model|over", NULL,
                     "weights as the model was trained, or divided by their sum over the slots run",
                     "" },
    [SEL_SEED] = { "seed", FIELD_INT, 0, 1000000000, NULL, NULL, "of the random election",
                   "elect=random" },
    [SEL_FILE] = { "file", FIELD_TEXT, 0, 0, NULL, NULL,
                   "tokens that each expert of each layer got, as `desbench show RUN --popularity` "
                   "prints them",
                   "elect=static" },
};

#define BIT(f) (1U << (f))

const struct selector_policy selector_policies[] = {
    { .name = "vanilla",
      .help = "the model's own routing",
      .source = "the checkpoint's config.json",
      .open = "nothing" },
    { .name = "topk",
      .help = "each token keeps its k best experts (k <= the model's own top-k)",
      .source = "baseline of " TABLE1,
      .open =
          "whether weights are divided by their new sum: as the model was trained (renorm=model). "
          "Whether prefill counts: on, as if the model were configured so",
      .needs = BIT(SEL_K),
      .budget = BIT(SEL_K),
      .v = { [SEL_PREFILL] = PREFILL_ON } },
    { .name = "topp",
      .help = "each token keeps the fewest experts whose scores reach share p",
      .source = "dynamic top-p routing (arXiv:2403.07652), capped at the model's top-k",
      .open = "p as a share of what: of the scores of all experts (p_of=all)",
      .needs = BIT(SEL_P),
      .budget = BIT(SEL_P),
      .v = { [SEL_KEEP] = KEEP_TOP_P, [SEL_PREFILL] = PREFILL_ON } },
    { .name = "naee",
      .help = "each token leaves out its last experts, where they are together below share tail",
      .source =
          "arXiv:2402.14800 (NAEE), dynamic skipping, for more than two experts as in " TABLE1,
      .open = "the original compares two experts by a ratio from calibration; DES names a share of "
              "the token's routing sum, 0.6, which is what tail is. Its calibration is left out",
      .budget = BIT(SEL_TAIL),
      .v = { [SEL_KEEP] = KEEP_TAIL, [SEL_TAIL] = 0.6, [SEL_PREFILL] = PREFILL_ON } },
    { .name = "mc-moe",
      .help = "naee, but the most important tokens keep all their experts",
      .source = "arXiv:2410.06270 (MC-MoE), dynamic part, as in " TABLE1,
      .open = "importance is attention received times the L1 norm of the hidden state; attention "
              "is not at hand here, so the norm alone decides. DES does not name the share of "
              "protected tokens: 0.1, the default of MC-MoE's code. Dropping all experts of the "
              "least important tokens, and sparing layers, are left out",
      .budget = BIT(SEL_TAIL) | BIT(SEL_PROTECT),
      .v = { [SEL_KEEP] = KEEP_TAIL,
             [SEL_TAIL] = 0.6,
             [SEL_PROTECT] = 0.1,
             [SEL_PREFILL] = PREFILL_ON } },
    { .name = "des-seq",
      .help = "the coreset is each token's k0 best experts; slots go to the best inside it",
      .source = TABLE1 ", Algorithms 1 and 2 (k0 is its k), and arXiv:2511.02237 (OEA), simplified",
      .open =
          "a coreset smaller than top-k: tokens run what there is. Prefill: off, as OEA has it. "
          "Batches: a coreset a sequence. Weights: as the model was trained",
      .needs = BIT(SEL_K0),
      .budget = BIT(SEL_K0),
      .v = { [SEL_SIZE] = SIZE_UNION } },
    { .name = "des-vote",
      .help = "tokens vote for their top-k by router score; the best beta or m experts are the "
              "coreset; slots go to the best inside it",
      .source = TABLE1 ", Algorithms 1 and 3, equation 6",
      .open = "votes are probabilities (the text: router weights; only Algorithm 3: logits), not "
              "divided by the token's sum. beta rounds down, as Table 1 has it. Ties: lower id. "
              "Every token of the forward votes. Prefill: off. Batches: a coreset a sequence. "
              "Experts without a vote come last. LLaDA2.x: scores without bias, within the "
              "limit of groups, and a token keeps its groups inside the coreset; slots that these "
              "cannot fill go to the rest of the coreset. Weights: as the model was trained, where "
              "Algorithm 1 may mean renorm=over",
      .budget = BIT(SEL_BETA) | BIT(SEL_M),
      .v = { [SEL_SIZE] = SIZE_FIXED } },
    { .name = "dmoe",
      .help = "as des-vote, but the best-voted up to share p of all votes, at least floor",
      .source = "arXiv:2605.30876 (dMoE) and its code, untrained",
      .open = "floor is the code's guard at inference, 16. The code votes with score plus bias and "
              "without the limit of groups. "
              "Prefill: off (the paper processes the prefix in blocks: prefill=blocks)",
      .budget = BIT(SEL_P),
      .v = { [SEL_SIZE] = SIZE_TOP_P,
             [SEL_P] = 0.6,
             [SEL_FLOOR] = 16,
             [SEL_VOTE] = VOTE_BIASED,
             [SEL_MASK_GROUP] = 1 } },
    { .name = "xshare",
      .help = "each token's first expert, filled up to beta or m by the sums of all router scores",
      .source = "arXiv:2602.07265 (XShare), without its speculative and multi-GPU parts",
      .open =
          "first experts beyond the budget: all of them stay, the coreset is larger. Batches: a "
          "coreset a sequence (the paper: scope=batch). Ties: lower id",
      .budget = BIT(SEL_BETA) | BIT(SEL_M),
      .v = { [SEL_SIZE] = SIZE_FIXED, [SEL_K0] = 1, [SEL_MASK] = KERNEL_MAX_EXPERTS } },
    { .name = "moe-spec",
      .help =
          "the coreset is the beta or m experts of the largest sums of all router scores; slots "
          "outside it are dropped",
      .source = "arXiv:2602.16052 (MoE-Spec), a block in place of its draft tree",
      .open =
          "dropping or substituting: dropping (outside=truncate); weights of the slots left: as "
          "the model was trained",
      .budget = BIT(SEL_BETA) | BIT(SEL_M),
      .v = { [SEL_SIZE] = SIZE_FIXED, [SEL_MASK] = KERNEL_MAX_EXPERTS, [SEL_OUTSIDE] = 1 } },
    { .name = "random",
      .help = "control: beta or m experts by chance, anew for each sequence, forward and layer",
      .source = "control",
      .open = "drawn from seed, the sequence's seed, the forward and the layer: not from the batch",
      .budget = BIT(SEL_BETA) | BIT(SEL_M),
      .v = { [SEL_SIZE] = SIZE_FIXED, [SEL_ELECT] = ELECT_RANDOM } },
    { .name = "static",
      .help = "control: the beta or m experts of each layer that were busiest in an earlier run",
      .source = "control (popularity)",
      .open = "counts are those of file; ties: lower id",
      .budget = BIT(SEL_BETA) | BIT(SEL_M),
      .v = { [SEL_SIZE] = SIZE_FIXED, [SEL_ELECT] = ELECT_STATIC } },
    { .name = "previous-step",
      .help = "control: des-vote, but run by the coreset that the forward before elected",
      .source = "control (temporal reuse)",
      .open = "a block's first forward runs by its own coreset",
      .budget = BIT(SEL_BETA) | BIT(SEL_M),
      .v = { [SEL_SIZE] = SIZE_FIXED, [SEL_LAG] = 1 } },
    { .name = "oracle-mass",
      .help =
          "control: beta or m experts, one by one what adds most to the scores that tokens keep "
          "in their slots",
      .source = "control",
      .open = "a greedy maximum: a strong reference, not a proven bound",
      .budget = BIT(SEL_BETA) | BIT(SEL_M),
      .v = { [SEL_SIZE] = SIZE_FIXED, [SEL_ELECT] = ELECT_MASS } },
    { .name = NULL },
};

const struct selector_alias selector_aliases[] = { { "oea", "des-seq" }, { NULL, NULL } };
