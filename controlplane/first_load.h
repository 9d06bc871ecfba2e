/* A collection's first vectors: the file that its configuration names as `source:`, read once, when
 * the store has nothing under that name yet. A load that was cut short (a crash, a full disk)
 * goes on at the next start or apply, from about where it was, or from the beginning when the file
 * is another. state.db knows which loads have begun, how far they are, and which are done. */
#ifndef TERN_FIRST_LOAD_H
#define TERN_FIRST_LOAD_H

#include "controlplane/job.h"

/* Reads every row of the files that would be loaded, before anything is published: bad ones are
 * errors with their places, in the job. 0, or job->rc. */
int tern_first_load_check(const struct tern_job_context *context, struct tern_job *job);

/* Loads what is due of the configuration that is served. What fails is a warning of the job: the
 * generation is served, and the load will be tried again. */
void tern_first_load_run(const struct tern_job_context *context, struct tern_job *job);

#endif
