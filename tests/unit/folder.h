/* A folder of a test's own, on tmpfs: arenas must be there, and commits are fast. */
#ifndef TERN_TESTS_FOLDER_H
#define TERN_TESTS_FOLDER_H

#define FOLDER_PATH 64

/* 0; or −1 with errno, and nothing made. */
int folder_make(char path[FOLDER_PATH]);
/* With all that is in it. 0 or −1. */
int folder_remove(const char *path);

#endif
