/* What the files behind results/compare.h share. */
#ifndef RESULTS_COMPARE_IMPL_H
#define RESULTS_COMPARE_IMPL_H

#include "results/compare.h"

/* By task, item id and sample_idx. */
void answer_set_sort(struct answer_set *s);

#endif
