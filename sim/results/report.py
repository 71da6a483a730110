"""The summary that a person reads at the end of a run, made from the result alone."""

__all__ = ["summary"]

BAR_WIDTH = 40
#: 1.0 as an eviction key
KEY_ONE = 1 << 20
NAMES = {
    "lru": "LRU",
    "lfu": "LFU",
    "belady": "Belady",
    "belady_bypass": "Belady with bypass",
}


def _all(result):
    """Says of a number that it is of all requests, where weights are counted apart elsewhere."""
    return ", weights included" if "weights" in result else ""


def _bar(share):
    filled = round(share * BAR_WIDTH)
    return "#" * filled + "." * (BAR_WIDTH - filled)


def _rate(value):
    return "  -  " if value is None else f"{value:.3f}"


def _extras(settings):
    """Settings that are seldom on, in words."""
    extras = []
    if settings["mode"] != "exact":
        extras.append(f"mode {settings['mode']}")
    if settings["prefetch"] != "off":
        extras.append(f"prefetch {settings['prefetch']}")
    if settings["announce_lead"]:
        extras.append(f"{settings['announce_lead']:,} clocks ahead")
    if settings["prefill"]:
        extras.append(f"prefill of {settings['prefill']} tokens by {settings['prefill_chunk']}")
    if settings.get("stream_order", "heads") != "heads":
        extras.append(f"streams by {settings['stream_order']}")
    if settings["throttle"]:
        extras.append("throttle on")
    if settings["cacheable"]:
        extras.append(
            f"{settings['cacheable']:.0%} of reads cacheable, snoops answered after {settings['snoop_clocks']} clocks"
        )
    return extras


def _hit_rates(result):
    rates = {"this run": result["demand"]["hit_rate"]}
    rates |= {NAMES[name]: rate for name, rate in result["baselines"].items()}
    width = max(map(len, rates))
    return [f"  {name:{width}}  {_rate(rate)}  {_bar(rate or 0)}" for name, rate in rates.items()]


def _why(priority, victim):
    """One eviction and its reason."""
    key = victim["key"]
    reason = {
        "decayed": f"lowest log2(score) + step x lambda, {key / KEY_ONE:.3f}",
        "product": f"largest (1 - score) x (1 - exp(-age / 1000)), {-key / KEY_ONE:.4f}",
        "lru": f"oldest event, step {key}",
    }[priority]
    waived = ", though announced and not yet read" if victim["waived"] else ""
    return (
        f"  step {victim['step']}: head {victim['head']} block {victim['block']} left for head {victim['for_head']}: "
        f"{reason}{waived}"
    )


def _evictions(result):
    evictions, priority = result["evictions"], result["settings"]["priority"]
    exact = f"{evictions['count']:,}, of these {evictions['exact']:,} as brute force says"
    latest = [_why(priority, victim) for victim in evictions["last"]]
    counts = f"evictions {exact}; bypasses {result['bypasses']:,}{_all(result)}"
    of_whom = " of the KV cache" if "weights" in result else ""
    return [counts + (f"; the latest{of_whom}:" if latest else ""), *latest]


def _fates(prefetch):
    """A line for each source that asked for a block."""
    lines = []
    for source, fate in prefetch.items():
        if not fate["candidates"]:
            continue
        ends = [f"{fate[end]:,} {end}" for end in ("useful", "late", "met", "unused", "unread") if fate[end]]
        others = [f"{count:,} {reason.replace('_', ' ')}" for reason, count in fate["dropped"].items() if count]
        others += [f"{fate[end]:,} {end}" for end in ("overtaken", "demanded", "waiting") if fate[end]]
        lines.append(
            f"  {source}: {fate['candidates']:,} blocks asked for, {fate['issued']:,} fetched"
            + (f" ({', '.join(ends)})" if ends else "")
            + (f"; the others {', '.join(others)}" if others else "")
        )
    return lines


def _prefetches(result):
    lines = _fates(result["prefetch"])
    return ["prefetched:", *lines] if lines else []


def _weights(result):
    """What became of the weights: they have no part in the demand hit rate and in the policies beside it."""
    weights = result.get("weights")
    if weights is None:
        return []
    reads = weights["reads"]
    layers, blocks = weights["layers"], weights["blocks"] // weights["layers"]
    found = f"{reads['hits']:,} of {reads['hits'] + reads['misses']:,} blocks read"
    return [
        f"weights, in no number above: {layers} layers x {blocks} blocks, {weights['frames']} frames of their own",
        f"  found resident  {_rate(reads['hit_rate'])}: {found}; {weights['evictions']:,} evictions, "
        f"{weights['flash']['pages_read']:,} pages from flash",
        *_fates(weights["prefetch"]),
    ]


def _phases(result):
    phase = result["phase"]
    if not phase["changes"]:
        return []
    steps = ", ".join(f"{count:,} steps in {name}" for name, count in phase["steps"].items())
    return [f"phase: {steps}, {phase['changes']:,} changes"]


def _loads(result):
    loads = result["devload"]
    if not any(count for load, count in loads.items() if load != "light"):
        return []
    total = sum(loads.values())
    return ["load reported by responses: " + ", ".join(f"{load} {count / total:.1%}" for load, count in loads.items())]


def _coherency(result):
    """What the host's copies came to, where it may have some."""
    seen = result["coherency"]
    if seen["snoops"] is None:
        return []
    flight = ""
    if seen["snoops"]:
        flight = (
            f", in flight {seen['snoops_in_flight_mean']:.2f} on average and {seen['snoops_in_flight_max']} at most"
        )
    held = f"{seen['held_requests']:,} requests held"
    if seen["held_requests"]:
        held += f", for {seen['held_clocks_mean']:.1f} clocks on average and {seen['held_clocks_max']:,} at most"
    return [
        f"coherency: {seen['grants_shared']:,} lines granted shared, {seen['grants_exclusive']:,} owned",
        f"  {seen['snoops']:,} snoops{flight}; {seen['recalls']:,} sectors recalled",
        f"  {held}; conflicts: {seen['conflicts_early']:,} early, {seen['conflicts_late']:,} late",
    ]


def _port(result):
    """What the endpoint itself moved for a byte of the host, where it compresses."""
    ddr = result["ddr"]
    if result["settings"]["mode"] == "exact" or ddr["read_per_host_byte"] is None:
        return []
    return [
        f"  of it through the endpoint, a byte of the host: read {ddr['read_per_host_byte']:.3f}, "
        f"written {ddr['written_per_host_byte']:.3f}"
    ]


def _bytes(count):
    return "-" if count is None else f"{count / 1e6:.1f} MB"


def _bandwidth(result, count):
    """ " (x GB/s)" over the whole run, or nothing where there are no clocks."""
    if not result["cycles"] or count is None:
        return ""
    return f" ({count / (result['cycles'] * result['timing']['clock_ns']):.2f} GB/s)"


def _moved(result, name):
    counts = result[name]
    parts = [
        f"{what} {_bytes(counts[f'bytes_{what}'])}{_bandwidth(result, counts[f'bytes_{what}'])}"
        for what in ("read", "written")
    ]
    return f"  {name:6} {', '.join(parts)}"


def _latency(result):
    timing, latency = result["timing"], result["latency_clocks"]
    if latency["p50"] is None:
        return []
    ns = timing["clock_ns"]
    values = ", ".join(f"{name} {value} ({value * ns:g} ns)" for name, value in latency.items())
    models = f"DDR5 {timing['ddr_clocks']} clocks, flash {timing['flash_read_clocks']} to read and"
    scaled = ", scaled down from 25 us" if timing["scaled"] else ""
    return [
        f"latency in clocks of {ns:g} ns, request to last response{_all(result)}: {values}",
        f"  fixed latencies: {models} {timing['flash_program_clocks']} to program{scaled}",
    ]


def _verdict(result):
    golden = result["golden"]
    if result["simulator"] == "golden":
        lines = ["golden model alone: no RTL was run, nothing was compared"]
    elif golden["mismatches"]:
        lines = [f"golden lock-step: MISMATCH after {golden['checked']:,} records", f"  {golden['first_mismatch']}"]
    else:
        lines = [f"golden lock-step: {golden['checked']:,} of {result['events']:,} records compared, no mismatch"]
    if result["reads_compared"]:
        lines.append(f"end to end: data of {result['reads_compared']:,} reads compared")
    errors = ", ".join(f"{name} {count}" for name, count in result["errors"].items() if count)
    return [*lines, f"errors: {errors or 'none'}"]


def summary(result):
    """The lines of the summary, as one text."""
    settings, demand, workload = result["settings"], result["demand"], result["workload"]
    source = result["provenance"]
    switches = [f"{name} {'on' if settings[name] else 'off'}" for name in ("bypass", "protect")]
    switches += _extras(settings)
    clocks = ""
    if result["cycles"]:
        clocks = f"{result['cycles']:,} clocks at {source['cycles_per_second']:,.0f}/s, "
    counts = f"{demand['hits']:,} hits, {demand['misses']:,} misses, {demand['first_writes']:,} first writes"
    lines = [
        f"{workload['name']}: {settings['steps']} of {workload['steps']} steps, {workload['heads']} heads x "
        f"{workload['blocks']} blocks, preset {result['preset']}, {result['simulator']}, seed {result['seed']}",
        f"{settings['priority']}, {settings['pool']} pool of {result['frames']} frames, announced by "
        f"{settings['announce']}, score {settings['score']}, {', '.join(switches)}",
        f"{clocks}{source['wall_seconds']:.1f} s, {result['requests']:,} requests, {result['events']:,} records",
        "",
        f"demand hit rate: {counts}",
        *_hit_rates(result),
        *_evictions(result),
        *_prefetches(result),
        *_weights(result),
        *_phases(result),
        *_coherency(result),
        "",
        *_latency(result),
        *_loads(result),
        f"moved{_all(result)}:",
        _moved(result, "host"),
        _moved(result, "ddr"),
        *_port(result),
        f"  flash  {result['flash']['pages_read']:,} pages read, {result['flash']['pages_written']:,} written",
        "",
        *_verdict(result),
    ]
    return "\n".join(lines)
