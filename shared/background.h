/* Threads that yield: what builds, validates or writes beside the request loops. */
#ifndef TERN_BACKGROUND_H
#define TERN_BACKGROUND_H

#include "shared/base.h"

/* Makes the calling thread one that yields: SCHED_BATCH at `nice`, and in slices of a tenth of a
 * millisecond (Linux 6.12; ignored before). The slice matters most: a thread that wakes waits for
 * the rest of the running one's, whatever their priorities, and the default is 3 ms.
 *
 * Cannot be undone without privileges, nor inherited by mistake: threads that this one starts do
 * inherit it. 0 or an errno; failing to yield is no reason to fail. */
int tern_background_begin(int nice);

/* The counterpart: a thread that does little and is waited for keeps its priority, but asks for the
 * same short slices, so that when it wakes it does not wait for the rest of a longer one. Inherited
 * by threads that it starts afterwards. 0 or an errno. */
int tern_background_stay_prompt(void);

#endif
