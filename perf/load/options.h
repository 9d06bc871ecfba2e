/* The command line of tern-load, parsed. */
#ifndef TERN_LOAD_OPTIONS_H
#define TERN_LOAD_OPTIONS_H

#include "shared/base.h"
#include "shared/limits.h"

enum load_protocol {
    LOAD_TERN,
    LOAD_RESP,
    LOAD_ECHO, /* tern frames that come back as they are */
    LOAD_MEMCACHED,
};

enum load_backend {
    LOAD_URING,
    LOAD_EPOLL,
};

struct load_options {
    const char *command;
    const char *target;
    const char *listen;
    const char *out;
    enum load_protocol protocol;
    enum load_backend backend;
    unsigned connections;
    unsigned idle; /* further connections, open and silent */
    unsigned depth;
    double rate; /* requests a second; 0: closed loop */
    bool poisson;
    double spike;                   /* factor of the rate, */
    double spike_at_s, spike_for_s; /* from so long after the warm-up on, so long */
    bool per_second;
    double duration_s;
    double warmup_s;
    uint64_t count; /* stop after so many replies; 0: by time */
    bool spin;
    unsigned spin_us; /* echo: how long to spin before sleeping; UINT_MAX: for ever */
    int cpu;          /* −1: not pinned */
    const char *frames_path;
    const char *requests_path;
    const char
        *fields; /* "ip:ip,host:string,…": ids from 1 in this order, without asking the server */
    unsigned items;       /* requests a frame */
    unsigned frame_bytes; /* of a generated echo frame, header included */
    const char *search;   /* a collection: SEARCH frames of the vectors in a file of f32 */
    const char *vectors_path;
    unsigned k, ef;
    const char *filter;
    const char *expect_path;
    bool check_same;
    const char *token; /* for HELLO; empty: none */
    const char *token_file;
    char token_text[TERN_TOKEN_MAX + 1];
    unsigned keys;
    unsigned value_bytes;
    uint64_t seed;
    int server_pid;
    bool json;
};

/* Parses argv[1…]; on a mistake prints what was expected to standard error and returns false.
 * Prints the help and exits 0 when it is asked for. */
bool load_options_parse(int argc, char **argv, struct load_options *options);

#endif
