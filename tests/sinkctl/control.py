# SPDX-License-Identifier: MIT
"""
Tests of the placement controller's commands with a live stream of sinkctl-stage, which decodes on request. They
hold for sim: and for a real node alike. Token HOT gets the attention of every query, so the figures are known.
"""
import json
import os
import stat
import tempfile
import time

from harness import check_record, document, equal, fails
from streams import KV_HEADS, LAYERS, ROW_BYTES, TOKENS, counters, evict, promote, tags, units

GROUPS, HOT = 2, 3
TOKEN_BYTES = LAYERS * KV_HEADS * ROW_BYTES
GROUP_BYTES = units(TOKEN_BYTES // GROUPS)


def tests_of(stage, keys):
    """keys: command -> its key records, from `help --json`. The tests build on one another."""
    sid = str(stage.stream)

    def listed(command, name, *words):
        records = stage.tool(command, "--stream", sid, *words)[name]
        for record in records:
            check_record(record, keys[command])
        return records

    def config(*words):
        return stage.tool("config", sid, *words)["parameters"]

    def contracts():
        return listed("contracts", "contracts")

    def length():
        return stage.tool("streams", "--stream", sid)["streams"][0]["length"]

    def events(*words):
        return listed("events", "events", *words)

    def clear():
        if tags(stage):
            evict(stage, "--token", "all")

    # ---- lists and contracts -----------------------------------------------------------------------------------

    def lists():
        device = stage.tool("promote", "--stream", sid, "--token", "0,5-6", "9:0-1", "9:2-3:1")
        equal((device["places"], device["entries"], device["ended_by"]), (5, 5, None), "grant")
        seen = sorted((t["token"], t["layer_begin"], t["layer_end"], tuple(t["heads"])) for t in device["granted"])
        wanted = [(0, 0, 4, (0, 1)), (5, 0, 4, (0, 1)), (6, 0, 4, (0, 1)), (9, 0, 2, (0, 1)), (9, 2, 4, (1,))]
        equal(seen, wanted, "what was granted")
        equal(sorted((t["token"], t["layer_begin"]) for t in tags(stage)), [w[:2] for w in wanted], "tags")
        gone = evict(stage, "5", "9:2-3")
        equal((gone["places"], gone["entries"], gone["token"]), (2, 2, None), "evicted")
        equal([t["token"] for t in tags(stage)], [0, 6, 9], "what is left")
        clear()

    def all_or_nothing():
        config(f"SRAM_BUDGET={2 * units(TOKEN_BYTES)}")
        result = stage.run("promote", "--stream", sid, "--token", "0-2", "--json")
        equal(document(result, 1)["errors"][0]["status"], "BUDGET", "status")
        equal(tags(stage), [], "nothing of a refused list")
        part = stage.run("promote", "--stream", sid, "--token", "0-2", "--partial", "--json")
        device = document(part, 0)["devices"][0]
        equal((device["places"], device["entries"], device["ended_by"]), (3, 2, "BUDGET"), "partial grant")
        assert "2 of 3 places" in part.err and "BUDGET" in part.err, part
        equal([t["token"] for t in tags(stage)], [0, 1], "what fits")
        clear()
        config("SRAM_BUDGET=none")

    def contract_of_a_grant():
        promote(stage, "--token", "1", "--dwell", "5", "--priority", "7")
        promote(stage, "--token", "2", "--deadline", "30s")
        promote(stage, "--token", "4")
        by_token = {c["token"]: c for c in contracts()}
        equal(sorted(by_token), [1, 2], "those in force")
        equal((by_token[1]["dwell_steps"], by_token[1]["dwell_left"], by_token[1]["priority"]), (5, 5, 7), "dwell")
        assert 55e9 < by_token[1]["deadline_left_ns"] <= 60e9, f"a dwell without deadline gets the longest lease: {by_token[1]}"
        equal((by_token[2]["dwell_steps"], by_token[2]["dwell_left"]), (None, None), "no dwell")
        assert 25e9 < by_token[2]["deadline_left_ns"] <= 30e9, by_token[2]
        equal({t["token"]: t["contract"] for t in tags(stage)}, {1: True, 2: True, 4: False}, "tags say so")
        stage.do("step", str(HOT), "2")
        equal({c["token"]: c["dwell_left"] for c in contracts()}, {1: 3, 2: None}, "two steps later")
        stage.do("step", str(HOT), "3")
        equal([c["token"] for c in contracts()], [2], "the dwell is over")

    def set_a_contract():
        done = stage.tool("contract", "--stream", sid, "4", "--dwell", "9", "--deadline", "5s")["contracts"][0]
        check_record(done, keys["contract"])
        equal((done["entries"], done["dwell_steps"], done["lease_ns"], done["ended"]), (1, 9, 5 * 10**9, False), "set")
        equal({c["token"]: c["dwell_left"] for c in contracts()}, {2: None, 4: 9}, "in force")
        equal(stage.tool("contract", "--stream", sid, "--token", "all", "--end")["contracts"][0]["entries"], 3, "ended")
        equal(contracts(), [], "none in force")
        fails(stage.run("contract", "--stream", sid, "--token", "9", "--dwell", "2"), 1, "contract", "ENOENT", "NOT_RESIDENT")
        clear()

    def deadline_passes():
        promote(stage, "--token", "1", "--deadline", "50ms")
        time.sleep(0.06)
        equal(contracts(), [], "expired by itself")
        equal([t["token"] for t in tags(stage)], [1], "but resident while nobody wants its place")
        clear()

    def contract_holds():
        """No grant takes its place: what does not fit beside it is refused; without it it is displaced."""
        config(f"SRAM_BUDGET={units(TOKEN_BYTES)}")
        promote(stage, "--token", "1", "--dwell", "99")
        fails(stage.run("promote", "--stream", sid, "--token", "2", "--dwell", "99"), 1, "ENOSPC", "BUDGET")
        stage.tool("contract", "--stream", sid, "1", "--end")
        promote(stage, "--token", "2", "--dwell", "99")
        equal([t["token"] for t in tags(stage)], [2], "displaced")
        last = [e for e in events() if e["event"] == "EVICTED"][-1]
        equal((last["token"], last["reason"]), (1, "DISPLACED"), "event")
        assert "wanted for a contract" in last["text"] and f"{units(TOKEN_BYTES)} bytes" in last["text"], last
        clear()
        config("SRAM_BUDGET=none")

    # ---- scores, profile, verdicts -----------------------------------------------------------------------------

    def groups():
        config("--group", "1", "T_SINK=0.5")
        equal([(p["group"], p["text"]) for p in config("T_SINK")], [(0, "0.1"), (1, "0.5")], "one record a group")
        done = config("T_SINK=0.25")
        equal([(p["group"], p["text"], p["previous_text"]) for p in done], [(0, "0.25", "0.1"), (1, "0.25", "0.5")], "all")
        equal([(p["group"], p["text"]) for p in config("T_SINK")], [(None, "0.25")], "the same in all groups")
        fails(stage.run("config", sid, "--group", "2", "T_SINK=1"), 2, "--group '2'", "0 to 1")
        fails(stage.run("scores", "--stream", sid, "--group", "2"), 2, "--group '2'", "0 to 1")

    def all_or_none():
        """A value that is refused leaves the others as they were."""
        before = [(p["name"], p["value"]) for p in config()]
        for words, part in ((("ALPHA=0.5", "HEAD_MASK=2"), "KV heads 0 to 1"), (("N_DWELL=3", "LAYER_RANGE=0-9"), "layers 0 to 3"),
                            (("N_DWELL=3", "LAYER_WEIGHT=4-5:2"), "layers 0 to 3"),
                            (("N_DWELL=3", "T_PROMOTE=0.001"), "T_EVICT 0.002"), (("T_EVICT=0.2", "T_PROMOTE=0.1"), "T_EVICT 0.2")):
            fails(stage.run("config", sid, *words), 2, part)
            equal([(p["name"], p["value"]) for p in config()], before, str(words))
        refused = stage.run("config", sid, "N_DWELL=3", "ALPHA=0.25", "TAIL_TOKENS=4096")
        fails(refused, 1, "ENOSPC", "TAIL_TOKENS = 4096", "BUDGET", "wanted", "left")
        equal(refused.err.count("ENOSPC"), 1, "errors are named once")
        equal([(p["name"], p["value"]) for p in config()], before, "taken back")

    def weights_are_taken_back():
        """Each layer gets the weight that it had, though LAYER_WEIGHT itself tells only what was set last."""
        def weights():
            return [(r["layer"], r["weight"]) for r in stage.tool("profile", "--stream", sid)["profile"]]

        equal([p["text"] for p in config("LAYER_WEIGHT")], ["all:1.0"], "one record if all layers agree")
        config("LAYER_WEIGHT=1-2:2")
        done = config("LAYER_WEIGHT=0-1:0.5")
        equal([(p["text"], p["previous_text"]) for p in done],
              [("0-0:0.5", "0-0:1.0"), ("1-1:0.5", "1-1:2.0"), ("2-2:2.0", "2-2:2.0"), ("3-3:1.0", "3-3:1.0")], "by layer")
        before = weights()
        fails(stage.run("config", sid, "LAYER_WEIGHT=2-3:3", "LAYER_WEIGHT=all:7", "TAIL_TOKENS=4096"), 1, "ENOSPC")
        equal(weights(), before, "taken back")
        equal([p["text"] for p in config("LAYER_WEIGHT")], ["0-1:0.5", "2-2:2.0", "3-3:1.0"], "runs of layers")
        config("LAYER_WEIGHT=all:1")

    def both_thresholds():
        for promote_at, evict_at in (("0.9", "0.8"), ("0.01", "0.001"), ("0.005", "0.002")):
            config(f"T_EVICT={evict_at}", f"T_PROMOTE={promote_at}")
            equal([p["text"] for p in config("T_PROMOTE", "T_EVICT")], [promote_at, evict_at], "thresholds")

    def score_list():
        config("LOCAL_WINDOW=0")
        stage.do("step", str(HOT), "20")  # enough observers for the controller
        stage.do("score", str(HOT))
        every = listed("scores", "scores")
        equal([(s["group"], s["token"]) for s in every], [(g, t) for g in range(GROUPS) for t in range(length())], "order")
        top = listed("scores", "scores", "--top", "3", "--group", "1")
        equal([s["group"] for s in top], [1] * 3, "group")
        equal(top[0]["token"], HOT, "the highest")
        assert top[0]["score"] > 0.99 and top[1]["score"] < 0.2 and top[0]["score"] >= top[1]["score"] >= top[2]["score"], top
        equal(top[0]["observers"], length() - HOT, "queries that could see it")
        equal((top[0]["mass"] > 0, top[0]["sink"], top[0]["ema"]), (True, False, 0.0), "not classified, no EMA yet")
        fails(stage.run("config", sid, "LOCAL_WINDOW=4"), 1, "EBUSY", "BUSY", "LOCAL_WINDOW")

    def nothing_to_propose():
        fails(stage.run("profile", "--stream", sid, "--propose"), 1, "ENODATA", "OBSERVE")

    def place_unscored():
        """What needs scores is refused before anything changes; what needs none is placed, and the command returns."""
        clear()
        before = [(p["name"], p["value"]) for p in config()]
        fails(stage.run("place", "--stream", sid, "--policy", "1a"), 1, "ENODATA", f"stream {sid} has no scores")
        equal([(p["name"], p["value"]) for p in config()], before, "refused")
        for policy, tokens in (("positional", [0, 1]), ("recent", [length() - 2, length() - 1])):
            done = stage.tool("place", "--stream", sid, "--policy", policy, "--tail", "0", "--sram", "12K")["placements"][0]
            equal((done["ended"], done["steps"], done["entries"]), ("placed", 0, 2), policy)
            equal([t["token"] for t in tags(stage)], tokens, policy)
        clear()
        config("SRAM_BUDGET=none")

    def place_1a():
        before, tokens = counters(stage), length()
        done = stage.tool("place", "--stream", sid, "--policy", "1a", "--tail", "0", "--t-sink", "0.5")["placements"][0]
        check_record(done, keys["place"])
        equal((done["policy"], done["promotions"], done["entries"], done["ended"], done["steps"]),
              ("1a", GROUPS, GROUPS, "placed", 0), "placement")
        equal([(t["token"], t["layer_begin"], t["layer_end"]) for t in tags(stage)], [(HOT, 0, 2), (HOT, 2, 4)], "tags")
        stage.do("barrier")
        stage.do("step", str(HOT), "4")
        after = counters(stage)
        for name in ("EMA_UPDATES", "OBSERVED_QUERIES", "AUTO_PROMOTIONS", "AUTO_EVICTIONS", "SCORED_QUERIES"):
            equal(after[name] - before[name], 0, f"{name}: decode does no placement work")
        equal(length(), tokens + 4, "length")

    def place_refused():
        fails(stage.run("place", "--stream", sid, "--policy", "1a", "--sram", "4095M"), 2, "sram_bytes", "the device has")
        fails(stage.run("place", "--stream", sid, "--policy", "1b", "--t-sink", "0.5"), 2, "t_sink", "not an option")
        fails(stage.run("place", "--stream", sid, "--policy", "1c", "--sram", "8K", "--tail", "4096"), 2, "tail_tokens", "4096")

    def observe():
        """1B from another process: the tool sees steps of the stream and carries out verdicts."""
        config("T_PROMOTE=0.3", "T_EVICT=0.1", "N_PROMOTE=2", "N_EVICT=2", "N_DWELL=2", "ALPHA=0.5")
        stage.do("later", "7", "30")  # three times as many as it waits for: it may begin late
        device = document(stage.run("place", "--stream", sid, "--policy", "1b", "--tail", "0", "--steps", "10", "--json"), 0)
        done = device["devices"][0]["placements"][0]
        assert done["steps"] >= 10 and done["ended"] == "steps", done
        stage.do("barrier")  # waits for the steps that are left
        equal({t["token"] for t in tags(stage)} >= {7}, True, f"the new sink is resident: {tags(stage)}")
        equal([t["kind"] for t in tags(stage) if t["token"] == 7], ["entry"] * GROUPS, "promoted by software")
        equal(counters(stage)["AUTO_PROMOTIONS"], 0, "not by the device")
        assert counters(stage)["OBSERVED_QUERIES"] > 0, "observed"
        top = listed("scores", "scores", "--top", "1")[0]
        equal((top["token"], top["sink"], top["resident"], top["state"]), (7, True, True, "sink"), "by EMA now")

    def heat():
        profile = listed("profile", "profile")
        equal([(p["layer"], p["head"], p["group"]) for p in profile],
              [(l, h, l // 2) for l in range(LAYERS) for h in range(KV_HEADS)], "cells")
        assert all(0.5 < p["share"] <= 1 for p in profile), profile
        text = stage.run("profile", "--stream", sid).out
        assert "\x1b" not in text, "colours are for terminals"
        rows = [line.split() for line in text.splitlines()[2:]]
        equal([row[0] for row in rows], [str(l) for l in range(LAYERS)], "a line a layer")
        equal([row[2] for row in rows], [f"{p['share']:.3f}" for p in profile if p["head"] == 0], "shares")

    def proposal():
        config("LAYER_RANGE=all", "HEAD_MASK=all")
        device = stage.tool("profile", "--stream", sid, "--propose")
        equal([(p["name"], p["group"], p["text"]) for p in device["proposal"]],
              [("LAYER_RANGE", None, "0-3"), ("HEAD_MASK", 0, "0-1"), ("HEAD_MASK", 1, "0-1")], "all heads are alike")
        equal((device["applied"], config("LAYER_RANGE")[0]["text"]), (False, "all"), "only proposed")
        out = stage.run("profile", "--stream", sid, "--propose").out
        assert f"sinkctl config {sid} --group 1 HEAD_MASK=0-1" in out, out
        device = stage.tool("profile", "--stream", sid, "--apply")
        equal((device["applied"], config("LAYER_RANGE")[0]["text"]), (True, "0-3"), "set")
        config("LAYER_RANGE=all", "HEAD_MASK=all")

    def imported():
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "heads.tsv")
            with open(path, "w", encoding="ascii") as table:
                table.write("0.1\t0.2\n0.1\t0.9\n0.7\t0.1\n0.3\t0.2\n")
            device = stage.tool("profile", "--stream", sid, "--import", path, "--apply")
            equal([(p["name"], p["group"], p["text"]) for p in device["proposal"]],
                  [("LAYER_RANGE", None, "1-2"), ("HEAD_MASK", 0, "1"), ("HEAD_MASK", 1, "0")], "full heads")
            equal([p["text"] for p in config("LAYER_RANGE", "HEAD_MASK")], ["1-2", "1", "0"], "set")
            with open(path, "w", encoding="ascii") as table:
                table.write("0.1\t0.2\n0.1\n")
            fails(stage.run("profile", "--stream", sid, "--import", path), 2, "--import", path)
            fails(stage.run("profile", "--stream", sid, "--import", path + "x"), 2, "--import", path + "x")
        config("LAYER_RANGE=all", "HEAD_MASK=all")

    def verdict_list():
        config("N_DWELL=2", "N_EVICT=2", "T_PROMOTE=0.3", "T_EVICT=0.1", "ALPHA=0.5")
        stage.do("step", "7", "6")  # 3 is no sink any more, 7 still is
        clear()
        stage.do("step", "7", "2")  # beyond N_DWELL since its promotion
        seen = [(v["verdict"], v["token"], v["group"], v["layer_begin"], v["layer_end"]) for v in listed("verdicts", "verdicts")]
        equal(seen, [("promote", 7, 0, 0, 2), ("promote", 7, 1, 2, 4)], "what the controller would do")
        equal(tags(stage), [], "and has not done")

    def automatic():
        before = counters(stage)
        done = stage.tool("place", "--stream", sid, "--policy", "1c", "--tail", "8", "--sram", "96K", "--due", "1ms")["placements"][0]
        equal((done["ended"], done["tail_tokens"]), ("placed", 8), "1c")
        equal([p["text"] for p in config("PLACEMENT", "COPY_DUE_NS")], ["AUTO", "1000000"], "parameters")
        config("T_PROMOTE=0.3", "T_EVICT=0.1", "N_PROMOTE=2", "N_EVICT=2", "N_DWELL=2", "ALPHA=0.5")
        stage.do("step", "11", "8")
        added = {name: value - before[name] for name, value in counters(stage).items()}
        equal(added["AUTO_PROMOTIONS"] >= GROUPS, True, "by the device")
        assert [t for t in tags(stage) if t["token"] == 11 and t["kind"] == "auto"], tags(stage)
        sink = [e for e in events() if e["event"] == "SINK" and e["token"] == 11]
        assert len(sink) == GROUPS and all("EMA 0." in e["text"] for e in sink), sink
        granted = [e for e in events("--last", "50") if e["event"] == "GRANTED" and e["token"] == 11]
        assert granted and granted[-1]["reason"] == "AUTO" and "STEP_END decided it" in granted[-1]["text"], granted

    def residency_map():
        stage.do("barrier")
        layers = listed("map", "layers")
        equal([l["layer"] for l in layers], list(range(LAYERS)), "layers")
        for record in layers:
            equal((record["tail_begin"], record["tail_end"]), (length() - 8, length()), "tail")
            assert 11 in record["tokens"], record
            equal(record["rows"], KV_HEADS * (8 + len(record["tokens"])), "rows")
            equal(record["bytes"], record["rows"] * ROW_BYTES, "bytes")
            equal(record["copying"], [], "behind a barrier")
        tail = [t for t in tags(stage) if t["kind"] == "tail"]
        equal([(t["token"], t["tokens"], t["generation"], t["ema"]) for t in tail], [(length() - 8, 8, 0, None)] * GROUPS, "tags")
        lines = stage.run("map", "--stream", sid).out.splitlines()
        row = lines[1].split()
        equal((len(lines), len(row[1]), row[1][11], row[1][-8:]), (1 + LAYERS, length(), "#", "t" * 8), "drawn")

    def sink_ends():
        config("T_PROMOTE=0.3", "T_EVICT=0.2")
        stage.do("step", "13", "10")
        gone = [e for e in events() if e["event"] == "EVICTED" and e["token"] == 11]
        assert gone and gone[-1]["reason"] in ("BELOW", "REPLACED"), gone
        equal(11 in {t["token"] for t in tags(stage) if t["kind"] == "auto"}, False, "11 is gone")
        equal(13 in {t["token"] for t in tags(stage) if t["kind"] == "auto"}, True, "13 has come")

    # ---- time --------------------------------------------------------------------------------------------------

    def late_copy():
        config("PLACEMENT=OFF", "TAIL_TOKENS=0")
        clear()
        before = counters(stage)["DMA_LATE"]
        promote(stage, "--token", "0-3", "--due", "1ns")
        stage.do("barrier")
        assert counters(stage)["DMA_LATE"] > before, "a copy of 24 KB takes longer than 1 ns"
        late = [e for e in events() if e["event"] == "COPY_LATE"]
        assert late and "ns too late" in late[-1]["text"], late
        clear()

    def hidden_copy():
        before = counters(stage)
        promote(stage, "--token", "0", "--due", "1ms")
        stage.do("advance", "900000")
        stage.do("barrier")
        after = counters(stage)
        equal(after["DMA_LATE"], before["DMA_LATE"], "in time")
        equal(after["EXPOSED_DMA_NS"], before["EXPOSED_DMA_NS"], "nobody waited")
        clear()

    def timeline():
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "trace.json")
            record = stage.tool("trace", "--stream", sid, "--output", path)["traces"][0]
            check_record(record, keys["trace"])
            with open(path, encoding="ascii") as file:
                trace = json.load(file)
            spans = [e for e in trace["traceEvents"] if e["ph"] == "X"]
            equal((len(spans), sum(e["cat"] == "copy" for e in spans)), (record["spans"], record["copies"]), "spans")
            assert record["copies"] and record["late"] >= 1 and {"ATTEND", "STEP_END", "copy"} <= {e["name"] for e in spans}
            assert all(e["dur"] >= 0 and e["args"]["stream"] == stage.stream for e in spans), "spans of this stream"
            names = {e["tid"] for e in trace["traceEvents"] if e["ph"] == "M" and e["name"] == "thread_name"}
            equal({e["tid"] for e in spans}, names, "every track has a name")
            begin = min(e["ts"] for e in spans)
            equal(round(begin * 1000), record["begin_ns"], "from")
        fails(stage.run("trace", "--output", "/nonexistent/trace.json"), 1, "trace", "ENOENT", "/nonexistent/trace.json")
        fails(stage.run("trace", "--output", ""), 2, "--output", "a name")
        for command in (("trace", "--output", "/dev/null"), ("events",)):
            fails(stage.run(*command, "--stream", "99999"), 1, "ENOENT", "99999")
        fails(stage.run("trace", "--output", "/dev/full"), 1, "trace", "ENOSPC", "/dev/full")
        assert stat.S_ISCHR(os.stat("/dev/full").st_mode), "a device that was named as the file is gone"

    def event_words():
        every = events()
        assert all(e["text"] for e in every) and every == sorted(every, key=lambda e: e["modelled_ns"]), "in order"
        equal(events("--last", "3"), every[-3:], "the newest")
        refused = [e for e in every if e["event"] == "REFUSED"]
        assert refused and "BUDGET" in refused[0]["text"], refused

    return [("promote and evict lists of places", lists), ("a list is granted whole, or in part on request", all_or_nothing),
            ("contracts: dwell and time left", contract_of_a_grant), ("contract makes, renews and ends", set_a_contract),
            ("a deadline passes by itself", deadline_passes), ("a contract holds against other grants", contract_holds),
            ("config of one score group", groups), ("config sets all or nothing", all_or_none),
            ("config: weights of layers are taken back as well", weights_are_taken_back),
            ("config sets both thresholds whatever they were", both_thresholds), ("place on a stream without scores", place_unscored), ("scores by token and by rank", score_list),
            ("nothing to propose without observations", nothing_to_propose),
            ("place refuses what the device or the policy lacks", place_refused),
            ("place 1a, and decode does no placement work", place_1a), ("place 1b from another process", observe),
            ("profile as a heat map", heat), ("profile proposes masks and range", proposal),
            ("profile imports a DuoAttention table", imported), ("verdicts", verdict_list),
            ("place 1c: the device decides", automatic), ("map with tail", residency_map),
            ("a sink ends and another takes its place", sink_ends), ("a copy that is late is an event", late_copy),
            ("a copy in time is hidden", hidden_copy), ("trace opens as JSON", timeline), ("events in words", event_words)]
