/* Work shared out among threads.

   A phase is over when its tasks are done, not when all threads have come: on a machine with other work, where a thread may
   lose its core for milliseconds, the others go on without it. */
#pragma once
#include <atomic>
#include <omp.h>
#include <sched.h>
#include <stdint.h>
#include <vector>

struct Phase {
    std::atomic<int64_t> next{0}, done{0};
    char apart[48];
};

struct Worker {
    Phase *phase;
    int number, threads;

    /* task(0) ... task(total - 1), each once, by whoever comes; returns when all are done. */
    template <typename Task> void share(int64_t total, Task task) {
        Phase &p = *phase++;
        const int64_t chunk = total / (threads * 6) + 1;
        for (;;) {
            const int64_t first = p.next.fetch_add(chunk, std::memory_order_relaxed);
            if (first >= total) break;
            const int64_t last = first + chunk < total ? first + chunk : total;
            for (int64_t i = first; i < last; i++) task(i);
            p.done.fetch_add(last - first, std::memory_order_release);
        }
        for (int64_t waited = 0; p.done.load(std::memory_order_acquire) < total; waited++)
            if (waited > 1000) sched_yield();
    }
};

template <typename Work> void together(int threads, int64_t phases, Work work) {
    std::vector<Phase> plan(phases);
#pragma omp parallel num_threads(threads)
    work(Worker{plan.data(), omp_get_thread_num(), threads});
}
