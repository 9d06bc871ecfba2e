/* An explanation in words. */
#ifndef TERN_CTL_EXPLAIN_TEXT_H
#define TERN_CTL_EXPLAIN_TEXT_H

#include "controlplane/ctl/json.h"

/* Prints verdict, rules with their atoms, look-ups and stage times; members that this ternctl does
 * not know, of a newer ternd, are printed as they are. */
void tern_explain_print(const struct tern_json_value *explanation);

#endif
