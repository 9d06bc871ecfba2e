#include "controlplane/requests.h"

#include "controlplane/log.h"
#include "controlplane/reply.h"
#include "controlplane/writes.h"
#include "shared/proto/tern.pb-c.h"
#include "shared/race.h"

#define HISTORY_DEFAULT 50u
#define FAILURE_SEARCH  64u /* newest rows among which the last failure is looked for */

static uint64_t served_generation(const struct tern_api_options *api)
{
    struct tern_pipeline_status status = {0};

    tern_pipeline_status(api->pipeline, &status);
    return status.generation;
}

static int answer_status(const struct tern_api_options *api, struct tern_asker *asker)
{
    struct tern_history_query query = {.limit = 1, .live_only = true};
    struct tern_history_row *live = NULL, *recent = NULL;
    struct tern_pipeline_status pipeline = {0};
    struct tern_builder_state builder;
    struct tern_drain_status log;
    unsigned live_count = 0, recent_count = 0;
    struct tern_collection_status collections[2 * TERN_COLLECTIONS_MAX]; /* one beside each */
    struct tern_sources_copy sources = {0};
    struct tern_error error;
    int rc;
    struct tern_reply_status status = {
        .directories = api->directories,
        .started_at_us = api->started_at_us,
        .pipeline = &pipeline,
        .builder = &builder,
    };

    /* In this order: what is no longer starting has its generation. */
    tern_builder_state(api->builder, &builder);
    TERN_RACE_POINT("status-builder-seen");
    tern_pipeline_status(api->pipeline, &pipeline);
    if (api->drain != NULL) {
        tern_drain_status(api->drain, &log);
        status.decision_log = &log;
    }
    if (api->collections != NULL) {
        status.collection_count =
            tern_collections_status(api->collections, collections, TERN_COUNT(collections));
        status.collections = collections;
    }
    /* A status without its history is still worth having. */
    if (tern_store_history(api->store, &query, &live, &live_count, &error) != 0)
        tern_control_log(TERN_LOG_ERROR, "%s", error.message);
    else if (live_count != 0)
        status.last_publish = &live[0];
    /* What fails by a timer stands with its source. */
    query = (struct tern_history_query){.limit = FAILURE_SEARCH, .no_refreshes = true};
    if (tern_store_history(api->store, &query, &recent, &recent_count, &error) != 0)
        tern_control_log(TERN_LOG_ERROR, "%s", error.message);
    /* A restore only covers a failure; it does not mend it. */
    for (unsigned i = 0; i < recent_count; i++) {
        if (recent[i].state == TERN_HISTORY_FAILED)
            status.last_failure = &recent[i];
        if (recent[i].state == TERN_HISTORY_FAILED ||
            (recent[i].state == TERN_HISTORY_LIVE && recent[i].kind != TERN_HISTORY_RESTORE))
            break;
    }
    status.sources = &sources;
    rc = tern_sources_copy(api->sources, &sources);
    if (rc == 0)
        rc = tern_reply_status(&asker->out, &status);
    tern_sources_copy_free(&sources);
    tern_history_free(live, live_count);
    tern_history_free(recent, recent_count);
    return rc;
}

static int answer_history(const struct tern_api_options *api, struct tern_asker *asker,
                          const Tern__Control__HistoryRequest *request)
{
    const struct tern_history_query query = {
        .limit = request->limit != 0 ? request->limit : HISTORY_DEFAULT,
        .generation = request->generation,
        .with_text = request->with_text,
        .live_only = request->live_only,
    };
    struct tern_history_row *rows = NULL;
    struct tern_error error;
    unsigned count = 0;
    int rc = tern_store_history(api->store, &query, &rows, &count, &error);

    if (rc != 0)
        return tern_reply_failure(&asker->out, rc, error.message);
    rc = tern_reply_history(&asker->out, rows, count, served_generation(api));
    tern_history_free(rows, count);
    if (rc == TERN_ELIMIT)
        rc = tern_reply_failure(&asker->out, rc, "that much history does not fit one reply");
    return rc;
}

static int submit(const struct tern_api_options *api, struct tern_asker *asker,
                  struct tern_job *job)
{
    char message[128];
    int rc;

    job->owner = asker->id;
    job->uid = asker->uid;
    job->pid = asker->pid;
    rc = tern_builder_submit(api->builder, job);
    if (rc == 0) {
        asker->pending = true;
        asker->sequence = 0;
        return 0;
    }
    tern_job_free(job);
    snprintf(message, sizeof message, "busy: %u jobs are waiting already; try again later",
             TERN_JOBS_WAITING_MAX);
    return tern_reply_failure(&asker->out, rc, message);
}

static struct tern_job *new_job(enum tern_job_kind kind, const char *message)
{
    struct tern_job *job = calloc(1, sizeof *job);

    if (job == NULL)
        return NULL;
    job->kind = kind;
    job->message = strdup(message);
    if (job->message == NULL) {
        free(job);
        return NULL;
    }
    return job;
}

static int begin_apply(const struct tern_api_options *api, struct tern_asker *asker,
                       const Tern__Control__ApplyRequest *request)
{
    struct tern_job *job;

    if (request->path[0] != '/')
        return tern_reply_failure(&asker->out, TERN_EINVAL,
                                  "apply needs the absolute path of a configuration");
    job = new_job(TERN_JOB_APPLY, request->message);
    if (job == NULL)
        return TERN_ENOMEM;
    job->dry_run = request->dry_run;
    job->force_change = request->force_change;
    job->new_schema = request->new_schema;
    job->path = strdup(request->path);
    if (job->path == NULL) {
        tern_job_free(job);
        return TERN_ENOMEM;
    }
    return submit(api, asker, job);
}

static int begin_rollback(const struct tern_api_options *api, struct tern_asker *asker,
                          const Tern__Control__RollbackRequest *request)
{
    struct tern_job *job = new_job(TERN_JOB_ROLLBACK, request->message);

    if (job == NULL)
        return TERN_ENOMEM;
    job->generation = request->generation;
    job->rules_only = request->rules_only;
    return submit(api, asker, job);
}

static int begin_resume(const struct tern_api_options *api, struct tern_asker *asker,
                        const Tern__Control__ResumeRequest *request)
{
    struct tern_job *job = new_job(TERN_JOB_RESUME, request->message);

    return job != NULL ? submit(api, asker, job) : TERN_ENOMEM;
}

static int begin_drop(const struct tern_api_options *api, struct tern_asker *asker,
                      const Tern__Control__DropRequest *request)
{
    struct tern_job *job = new_job(TERN_JOB_DROP, request->message);

    if (job == NULL)
        return TERN_ENOMEM;
    job->dry_run = request->count_only;
    job->collection = strdup(request->collection);
    if (job->collection == NULL) {
        tern_job_free(job);
        return TERN_ENOMEM;
    }
    return submit(api, asker, job);
}

static int answer_audit(const struct tern_api_options *api, struct tern_asker *asker,
                        const Tern__Control__AuditRequest *request)
{
    struct tern_audit_row *rows = NULL;
    struct tern_error error;
    unsigned count = 0;
    int rc = tern_store_audits(api->store, request->limit != 0 ? request->limit : HISTORY_DEFAULT,
                               &rows, &count, &error);

    if (rc != 0)
        return tern_reply_failure(&asker->out, rc, error.message);
    rc = tern_reply_audit(&asker->out, rows, count);
    tern_audit_free(rows, count);
    if (rc == TERN_ELIMIT)
        rc = tern_reply_failure(&asker->out, rc, "that many records do not fit one reply");
    return rc;
}

/* What became of a write's submission: 0, TERN_EAGAIN when it is not to be taken yet, or an error.
 */
static int submitted(struct tern_asker *asker, int rc)
{
    if (rc == 0)
        asker->writes++;
    asker->held = rc == TERN_EAGAIN;
    return rc == TERN_EREFUSED ? 0 : rc;
}

int tern_requests_answer(const struct tern_api_options *api, struct tern_asker *asker,
                         const uint8_t *data, size_t length)
{
    struct tern_collections *collections = api->collections;
    Tern__Control__Request *request = tern__control__request__unpack(NULL, length, data);
    int rc;

    if (request == NULL) {
        asker->closing = true;
        return tern_reply_failure(&asker->out, TERN_EINVAL, "this is no request of tern's API");
    }
    switch (request->body_case) {
    case TERN__CONTROL__REQUEST__BODY_APPLY:
        rc = begin_apply(api, asker, request->apply);
        break;
    case TERN__CONTROL__REQUEST__BODY_STATUS:
        rc = answer_status(api, asker);
        break;
    case TERN__CONTROL__REQUEST__BODY_HISTORY:
        rc = answer_history(api, asker, request->history);
        break;
    case TERN__CONTROL__REQUEST__BODY_ROLLBACK:
        rc = begin_rollback(api, asker, request->rollback);
        break;
    case TERN__CONTROL__REQUEST__BODY_RESUME:
        rc = begin_resume(api, asker, request->resume);
        break;
    case TERN__CONTROL__REQUEST__BODY_AUDIT:
        rc = answer_audit(api, asker, request->audit);
        break;
    case TERN__CONTROL__REQUEST__BODY_UPSERT:
        rc = submitted(asker,
                       tern_writes_upsert(collections, asker->id, request->upsert, &asker->out));
        break;
    case TERN__CONTROL__REQUEST__BODY_DELETE:
        rc = submitted(asker,
                       tern_writes_delete(collections, asker->id, request->delete_, &asker->out));
        break;
    case TERN__CONTROL__REQUEST__BODY_COLLECTION:
        rc = tern_writes_describe(collections, request->collection->name, &asker->out);
        break;
    case TERN__CONTROL__REQUEST__BODY_DROP:
        rc = begin_drop(api, asker, request->drop);
        break;
    case TERN__CONTROL__REQUEST__BODY_VECTOR:
        rc = tern_writes_lookup(collections, request->vector, &asker->out);
        break;
    default:
        rc = tern_reply_failure(&asker->out, TERN_ENOTSUP,
                                "this tern-control does not know that request");
    }
    tern__control__request__free_unpacked(request, NULL);
    return rc;
}
