/* Whether a graph is whole: what its files promise of every moment between two calls. */
#ifndef TERN_TESTS_GRAPH_CHECK_H
#define TERN_TESTS_GRAPH_CHECK_H

#include "controlplane/build/graph_private.h"

/* Asserts that every slot in the tree reaches the one root over anchors, with a link each way; that
 * no link leads to a free slot or below its level, and none to a detached one; that the census
 * finds the same, and everything reachable. `where` says where in the test, when it fails. */
void tern_graph_check(struct tern_graph *graph, const char *where);

#endif
