/* What an apply, a rollback or a check has to say, for people and for machines. */
#ifndef TERN_CTL_REPORT_H
#define TERN_CTL_REPORT_H

#include "controlplane/config/config.h"
#include "controlplane/ctl/instance.h"
#include "controlplane/ctl/json.h"

/* Reads `path` and checks its rules. True when there is no error; then, and when only rules are
 * wrong,
 * `*config` is set and the caller's. */
bool tern_ctl_check_config(const char *path, struct tern_config **config,
                           struct tern_diagnostics *diagnostics);

/* All of them, in order of place, on standard error. */
void tern_report_diagnostics(const struct tern_diagnostics *diagnostics);
/* Likewise, as the member "diagnostics". */
void tern_report_diagnostics_json(struct tern_json *json,
                                  const struct tern_diagnostics *diagnostics);

/* One table of a result or of the history, as an element of an array. */
void tern_report_table_json(struct tern_json *json, const Tern__Control__TableResult *table);

/* Sends a job to tern-control and follows it: a progress bar on a terminal, diagnostics as they
 * come. Prints the outcome (`extra`, may be NULL, adds members to the JSON or lines below the text)
 * and returns the exit code. */
struct tern_report_extra {
    void (*json)(void *context, struct tern_json *json);
    void (*text)(void *context);
    void *context;
};
int tern_report_job(const struct tern_invocation *invocation, const char *run_dir,
                    const Tern__Control__Request *request, const struct tern_report_extra *extra);

#endif
