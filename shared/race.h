/* Race points: named places where a test may hold or kill the process to weave an interleaving that
 * chance would take days to find. Compiled to nothing unless meson is given -Drace_points=true.
 *
 * TERN_RACE_DIR names a directory. Reaching point P while the file DIR/P.kill exists ends the
 * process as kill -9 would; while DIR/P.hold exists the process writes DIR/P.reached and waits
 * until the file is gone. Points are spelled "publish-swapped": they are file names. */
#ifndef TERN_RACE_H
#define TERN_RACE_H

#ifdef TERN_RACE_POINTS
void tern_race_point(const char *name);
#define TERN_RACE_POINT(name) tern_race_point(name)
#else
#define TERN_RACE_POINT(name) ((void)0)
#endif

#endif
