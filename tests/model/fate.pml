/* Deaths, at any instant. Included by publish.pml. */

/* kill -9: stores already made reach memory, then the kernel drops the locks. */
inline kill(t)
{
    atomic {
        kills > 0 && alive[t] && empty(buffer[2 * t]) && empty(buffer[2 * t + 1]) ->
        kills--;
        alive[t] = false;
        joining[t] = false;
        seated[t] = false;
        bell[t] = false;
        prepared_slot[t] = NONE;
        prepared_seq[t] = 0
    }
}

#if LOCALS > 0
inline kill_local()
{
    atomic {
        kills > 0 && alive[LOCAL] && empty(buffer[PREPARING]) && empty(buffer[CONTEXT]) ->
        kills--;
        alive[LOCAL] = false;
        joining[LOCAL] = false;
        seated[LOCAL] = false;
        locked = false;
        offered_slot = NONE;
        offered_seq = 0
    }
}
#endif

inline crash()
{
    atomic {
        crashes > 0 && control_alive ->
        crashes--;
        do
        :: buffer[CONTROL]?_(_)
        :: empty(buffer[CONTROL]) -> break
        od;
        control_alive = false
    }
}

proctype fate()
{
end:
    do
#if TERNDS > 0
    :: kill(0)
#endif
#if LOCALS > 0
    :: kill_local()
#endif
#if TERNDS > 1
    :: kill(1)
#endif
    :: crash()
    od
}
