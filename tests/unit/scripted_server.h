/* A server of the client protocol on a Unix socket, with nothing behind it: the value of `user` in
 * a request's first item says what it does. */
#ifndef TERN_TESTS_SCRIPTED_SERVER_H
#define TERN_TESTS_SCRIPTED_SERVER_H

#include "tests/unit/folder.h"
#include "tests/unit/unit.h"

#include <pthread.h>

enum script {
    ANSWER = 0,
    SPLIT,     /* two frames, items in reverse */
    CLOSE,     /* close without an answer */
    REFUSE,    /* BAD_FIELD with a message */
    SILENT,    /* keep it, answer it together with the next one, later first */
    GO_AWAY,   /* GOAWAY, then the answer */
    TWICE,     /* an item twice */
    SHORT,     /* an item too few */
    CLOSE_ONE, /* close the first time, answer the second */
};

struct scripted_server {
    int listener;
    pthread_t thread;
    char directory[FOLDER_PATH];
    char address[80];
    _Atomic int hellos;
    _Atomic int decides;
    _Atomic uint16_t schema; /* 0: three fields; 1: one more; 2: other names */
    _Atomic uint8_t hello_status;
    _Atomic int connection; /* −1: none; shut down when a test ends in the middle */
    bool closed_one;
    uint32_t held_id;
    unsigned held_count;
};

/* At `address`, a socket in `directory`, with a thread. Again after hanging up: as another process
 * of the same server. */
void scripted_server_listen(struct scripted_server *server);
/* Its connection and its listener end, and the thread. */
void scripted_server_hang_up(struct scripted_server *server);

#endif
