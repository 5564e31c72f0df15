//! What language runtimes and process collectors expose.

use super::super::random::Dice;
use super::super::service::Service;
use super::parts::{Reading, Readings};
use super::{Aspect, Panel};

const CPU: Reading = |_, t| t.cpu * t.seconds;
const MEMORY: Reading = |_, t| t.memory;
const THREADS: Reading = |_, t| t.threads;
const BEGAN: Reading = |_, t| (t.began_at * 100.0).round() / 100.0;
const DESCRIPTORS: Reading = |_, t| t.descriptors;

/// Process metrics, and those of a runtime drawn at random.
pub(super) fn draw(panel: &mut Panel, _service: &Service, dice: &mut Dice) {
    let language = dice.whole(0, 6);
    if language != 4 && dice.chance(0.9) {
        process(panel, dice);
    }
    match language {
        0 | 1 => go(panel),
        2 => python(panel),
        3 => node(panel),
        4 => dotnet(panel),
        5 => container(panel),
        _ => {}
    }
}

fn process(panel: &mut Panel, dice: &mut Dice) {
    let mut readings = Readings::of_runtime();
    let start = !dice.chance(0.1);
    readings.count("process_cpu_seconds_total", &[], CPU);
    readings.level("process_resident_memory_bytes", &[], MEMORY);
    readings.level("process_virtual_memory_bytes", &[], |_, t| t.memory * 3.0 + 2e8);
    readings.level("process_open_fds", &[], DESCRIPTORS);
    readings.level("process_max_fds", &[], |_, _| 1_048_576.0);
    if start {
        readings.level("process_start_time_seconds", &[], BEGAN);
        panel.aspects.push(Aspect::ProcessStart);
    }
    panel.add(readings, &[Aspect::Cpu, Aspect::Memory, Aspect::Descriptors]);
}

fn go(panel: &mut Panel) {
    let mut readings = Readings::of_runtime();
    readings.level("go_goroutines", &[], THREADS);
    readings.level("go_threads", &[], |s, _| s.cores + 6.0);
    readings.level("go_memstats_heap_inuse_bytes", &[], |_, t| t.heap);
    readings.level("go_memstats_alloc_bytes", &[], |_, t| t.heap * 0.9);
    readings.count("go_memstats_alloc_bytes_total", &[], |_, t| t.requests() * 40_000.0);
    readings.level("go_memstats_next_gc_bytes", &[], |_, t| t.heap * 1.4);
    readings.count("go_gc_duration_seconds_sum", &[], |_, t| t.gc_seconds);
    readings.count("go_gc_duration_seconds_count", &[], |_, t| t.gc_runs);
    readings.level("go_info", &[("version", "go1.23.4")], |_, _| 1.0);
    panel.add(readings, &[Aspect::Threads, Aspect::Gc]);
}

fn python(panel: &mut Panel) {
    let mut readings = Readings::of_runtime();
    for generation in ["0", "1", "2"] {
        let labels = [("generation", generation)];
        readings.count("python_gc_collections_total", &labels, |_, t| t.gc_runs);
        readings.count("python_gc_objects_collected_total", &labels, |_, t| t.gc_runs * 200.0);
    }
    readings.level("python_info", &[("implementation", "CPython"), ("version", "3.12.3")], |_, _| 1.0);
    panel.add(readings, &[]);
}

fn node(panel: &mut Panel) {
    let mut readings = Readings::of_runtime();
    readings.level("nodejs_eventloop_lag_seconds", &[], |s, t| 0.002 + 0.02 * (t.cpu / s.cores).powi(3));
    readings.level("nodejs_eventloop_lag_p99_seconds", &[], |s, t| 0.01 + 0.1 * (t.cpu / s.cores).powi(3));
    readings.level("nodejs_active_handles_total", &[], |_, t| t.descriptors);
    readings.level("nodejs_active_requests_total", &[], |_, t| t.in_flight);
    readings.level("nodejs_heap_size_used_bytes", &[], |_, t| t.heap);
    readings.level("nodejs_heap_size_total_bytes", &[], |_, t| t.memory * 0.8);
    readings.level("nodejs_external_memory_bytes", &[], |_, t| t.memory * 0.05);
    for kind in ["minor", "major"] {
        readings.count("nodejs_gc_duration_seconds_sum", &[("kind", kind)], |_, t| t.gc_seconds);
        readings.count("nodejs_gc_duration_seconds_count", &[("kind", kind)], |_, t| t.gc_runs);
    }
    panel.add(readings, &[Aspect::Gc]);
}

fn dotnet(panel: &mut Panel) {
    let mut readings = Readings::of_runtime();
    readings.count("process_cpu_seconds_total", &[], CPU);
    readings.level("process_working_set_bytes", &[], MEMORY);
    readings.level("process_num_threads", &[], THREADS);
    readings.level("process_open_handles", &[], DESCRIPTORS);
    readings.level("process_start_time_seconds", &[], BEGAN);
    readings.level("dotnet_total_memory_bytes", &[], |_, t| t.heap);
    readings.count("dotnet_collection_count_total", &[("generation", "0")], |_, t| t.gc_runs);
    readings.count("dotnet_collection_count_total", &[("generation", "2")], |_, t| (t.gc_runs / 9.0).floor());
    panel.add(
        readings,
        &[Aspect::Cpu, Aspect::Memory, Aspect::Threads, Aspect::Descriptors, Aspect::ProcessStart],
    );
}

/// As a container runtime sees it from outside.
fn container(panel: &mut Panel) {
    let mut readings = Readings::of_runtime();
    let labels: &[(&str, &str)] = &[("container", "app"), ("namespace", "prod")];
    readings.count("container_cpu_usage_seconds_total", labels, CPU);
    readings.level("container_memory_working_set_bytes", labels, MEMORY);
    readings.level("container_spec_memory_limit_bytes", labels, |s, _| (s.memory * 2.0).round());
    readings.level("container_threads", labels, THREADS);
    readings.level("container_start_time_seconds", labels, |_, t| t.began_at.floor());
    readings.count("container_network_receive_bytes_total", labels, |_, t| t.requests() * 900.0);
    readings.count("container_network_transmit_bytes_total", labels, |_, t| t.requests() * 6_000.0);
    panel.add(readings, &[Aspect::Threads]);
}

/// A Java virtual machine as micrometer or the Java client shows it.
pub(super) fn draw_jvm(panel: &mut Panel, _service: &Service, dice: &mut Dice) {
    let mut readings = Readings::of_runtime();
    if dice.chance(0.6) {
        micrometer(&mut readings, dice);
    } else {
        simple_client(&mut readings);
    }
    panel.add(readings, &[Aspect::Cpu, Aspect::Memory, Aspect::Threads, Aspect::Gc, Aspect::ProcessStart]);
}

fn micrometer(readings: &mut Readings, dice: &mut Dice) {
    let heap = |id| [("area", "heap"), ("id", id)];
    readings.level("jvm_memory_used_bytes", &heap("G1 Eden Space"), |_, t| (t.heap * 0.4).round());
    readings.level("jvm_memory_used_bytes", &heap("G1 Old Gen"), |_, t| {
        (t.memory * (0.3 + t.condition.memory * 0.6)).round()
    });
    readings.level("jvm_memory_used_bytes", &[("area", "nonheap"), ("id", "Metaspace")], |_, t| {
        (8e7 * (1.0 - (-(t.at - t.began_at + 5.0) / 60.0).exp())).round()
    });
    readings.level("jvm_memory_max_bytes", &heap("G1 Old Gen"), |s, _| s.memory.round());
    readings.level("jvm_memory_committed_bytes", &heap("G1 Old Gen"), |s, _| (s.memory * 0.7).round());
    readings.level("jvm_threads_live_threads", &[], THREADS);
    readings.level("jvm_threads_daemon_threads", &[], |s, _| (s.threads * 0.8).round());
    readings.level("jvm_threads_peak_threads", &[], |s, t| t.threads.max(s.threads * 1.1).round());
    for state in ["runnable", "blocked", "waiting", "timed-waiting"] {
        readings.level("jvm_threads_states_threads", &[("state", state)], |_, t| (t.threads / 4.0).round());
    }
    let pause = [("action", "end of minor GC"), ("cause", "G1 Evacuation Pause")];
    readings.count("jvm_gc_pause_seconds_sum", &pause, |_, t| t.gc_seconds);
    readings.count("jvm_gc_pause_seconds_count", &pause, |_, t| t.gc_runs);
    readings.level("jvm_gc_overhead_percent", &[], |_, t| t.gc_seconds / t.seconds.max(0.1));
    readings.level("jvm_classes_loaded_classes", &[], |_, t| {
        (14_000.0 + 3_000.0 * (1.0 - (-(t.at - t.began_at) / 120.0).exp())).round()
    });
    readings.level("process_cpu_usage", &[], |s, t| t.cpu / s.cores);
    readings.level("system_cpu_usage", &[], |s, t| (t.cpu / s.cores * 1.2).min(1.0));
    readings.level("system_load_average_1m", &[], |_, t| t.cpu * 1.3);
    readings.level("process_files_open_files", &[], DESCRIPTORS);
    readings.level("process_uptime_seconds", &[], |_, t| (t.at - t.began_at).max(0.0));
    readings.level("process_start_time_seconds", &[], BEGAN);
    if dice.chance(0.6) {
        readings.level("tomcat_threads_busy_threads", &[("name", "http-nio-8080")], |_, t| t.in_flight);
        readings.level("tomcat_threads_config_max_threads", &[("name", "http-nio-8080")], |_, _| 200.0);
        readings.level("executor_queued_tasks", &[("name", "app")], |_, t| t.pool_waiting);
    }
}

fn simple_client(readings: &mut Readings) {
    readings.count("process_cpu_seconds_total", &[], CPU);
    readings.level("process_resident_memory_bytes", &[], MEMORY);
    readings.level("process_start_time_seconds", &[], BEGAN);
    readings.level("process_open_fds", &[], DESCRIPTORS);
    readings.level("jvm_memory_bytes_used", &[("area", "heap")], |_, t| t.heap);
    readings.level("jvm_memory_bytes_max", &[("area", "heap")], |s, _| s.memory.round());
    readings.level("jvm_memory_pool_bytes_used", &[("pool", "G1 Old Gen")], |_, t| {
        (t.memory * (0.3 + t.condition.memory * 0.6)).round()
    });
    readings.level("jvm_threads_current", &[], THREADS);
    readings.level("jvm_threads_deadlocked", &[], |_, _| 0.0);
    for gc in ["G1 Young Generation", "G1 Old Generation"] {
        readings.count("jvm_gc_collection_seconds_sum", &[("gc", gc)], |_, t| t.gc_seconds);
        readings.count("jvm_gc_collection_seconds_count", &[("gc", gc)], |_, t| t.gc_runs);
    }
    readings.level("jvm_classes_loaded", &[], |_, _| 15_211.0);
}
