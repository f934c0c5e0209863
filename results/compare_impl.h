/* What the files behind results/compare.h share. */
#ifndef RESULTS_COMPARE_IMPL_H
#define RESULTS_COMPARE_IMPL_H

#include "results/compare.h"

/* By task, item id and sample_idx. */
void answer_set_sort(struct answer_set *s);

/* Append the cluster's name: items that share a parent share a cluster, the id of the item that
 * both come from. */
void answer_put_cluster(struct buf *b, const struct answer_row *r);

#endif
