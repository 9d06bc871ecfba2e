/* Who may ask: where `tokens:` are configured, a connection shows one with HELLO before anything
 * but PING is answered, and within five seconds. */
#include "dataplane/worker.h"

#define HELLO_NS 5000000000ull

/* From now on the connection has to show a token, as a new one has. */
static void ask_for_token(struct tern_worker *worker, struct tern_connection *connection)
{
    connection->token = TERN_TOKEN_MISSING;
    connection->until_ns = worker->now_ns + HELLO_NS;
    tern_worker_watch(worker, connection);
}

void tern_worker_greet(struct tern_worker *worker, struct tern_connection *connection)
{
    if (worker->settings->token_count == 0)
        connection->token = TERN_TOKEN_NOT_NEEDED;
    else
        ask_for_token(worker, connection);
}

bool tern_worker_admit(struct tern_worker *worker, struct tern_connection *connection,
                       const uint8_t *token, size_t length)
{
    unsigned number;

    _Static_assert(TERN_TOKENS_MAX < TERN_TOKEN_NOT_NEEDED, "a token's number is no state");
    if (worker->settings->token_count == 0)
        return true;
    number = tern_settings_find_token(worker->settings, token, length);
    if (number == 0)
        return false;
    if (connection->token == TERN_TOKEN_MISSING)
        connection->until_ns = 0;
    connection->token = (uint8_t)number;
    return true;
}

/* The number that token `number` of `before` has now, TERN_TOKEN_MISSING when it was revoked. */
static uint8_t renumber(const struct tern_settings *before, unsigned number,
                        const struct tern_settings *now)
{
    for (unsigned i = 0; i < now->token_count; i++)
        if (memcmp(before->tokens[number - 1].digest, now->tokens[i].digest,
                   sizeof now->tokens[i].digest) == 0)
            return (uint8_t)(i + 1);
    return TERN_TOKEN_MISSING;
}

void tern_worker_change_tokens(struct tern_worker *worker, const struct tern_settings *before,
                               const struct tern_settings *now)
{
    if (before->token_count == now->token_count &&
        memcmp(before->tokens, now->tokens, now->token_count * sizeof *now->tokens) == 0)
        return;
    for (uint32_t i = 0; i < worker->connections.used; i++) {
        struct tern_connection *connection = &worker->connections.all[i];
        uint8_t token = TERN_TOKEN_MISSING;

        if (connection->state == TERN_CONNECTION_FREE ||
            connection->state == TERN_CONNECTION_CLOSING)
            continue;
        if (now->token_count == 0)
            token = TERN_TOKEN_NOT_NEEDED;
        else if (connection->token != TERN_TOKEN_NOT_NEEDED &&
                 connection->token != TERN_TOKEN_MISSING)
            token = renumber(before, connection->token, now);
        if (token == TERN_TOKEN_MISSING && connection->token != TERN_TOKEN_MISSING)
            ask_for_token(worker, connection);
        else if (token != TERN_TOKEN_MISSING && connection->token == TERN_TOKEN_MISSING)
            connection->until_ns = 0;
        connection->token = token;
    }
}
