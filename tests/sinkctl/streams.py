# SPDX-License-Identifier: MIT
"""
Tests with a live stream of sinkctl-stage. They hold for sim: and for a real node alike, so cli and guest both
run them. The geometry is that of stage.c.
"""
from harness import check_record, document, equal, fails, table

LAYERS, KV_HEADS, TOKENS, ROW_BYTES = 4, 2, 20, (128 + 64) * 4
UNIT = 256


def units(bytes_):
    return (bytes_ + UNIT - 1) // UNIT * UNIT


def counters(stage):
    return {c["name"]: c["value"] for c in stage.tool("counters", "--stream", str(stage.stream))["counters"]}


def delta(stage, act):
    """What act() adds to the stream's counters, without the zeros and the time."""
    before = counters(stage)
    act()
    after = counters(stage)
    return {name: after[name] - before[name] for name in after
            if after[name] != before[name] and name not in ("JOBS", "MODELLED_NS", "EXPOSED_DMA_NS")}


def tags(stage):
    return stage.tool("tags", "--stream", str(stage.stream))["tags"]


def promote(stage, *words):
    return stage.tool("promote", "--stream", str(stage.stream), *words)["granted"][0]


def evict(stage, *words):
    return stage.tool("evict", "--stream", str(stage.stream), *words)["evicted"][0]


def tests_of(stage, keys):
    """keys: command -> its key records, from `help --json`."""
    sid = str(stage.stream)

    def streams():
        listed = [s for s in stage.tool("streams")["streams"] if s["stream"] == stage.stream]
        equal(len(listed), 1, "the stage's stream")
        check_record(listed[0], keys["streams"])
        geometry = {"length": TOKENS, "layers": LAYERS, "q_heads": 4, "kv_heads": KV_HEADS, "d_k": 128, "d_v": 64,
                    "format": "F32", "page_tokens": 16, "max_tokens": 128, "reserved_tokens": 128, "entries": 0,
                    "sram_bytes": 0, "scored": 0, "sealed": 0, "seal_k": None, "seal_v": None, "flags": [], "swapped": False,
                    "group_end": [2, LAYERS]}
        equal({key: listed[0][key] for key in geometry}, geometry, "geometry")
        rows = table(stage.run("streams", "--stream", sid).out)
        equal(rows[0][:3], ["STREAM", "TENANT", "LENGTH"], "heading")
        equal((len(rows), rows[1][0], rows[1][2]), (2, sid, str(TOKENS)), "row")

    def flags():
        stage.do("extra", "1")
        try:
            flags_of = {s["stream"]: s["flags"] for s in stage.tool("streams")["streams"]}
            mine = flags_of.pop(stage.stream)
            other = [stream for stream, flags in flags_of.items() if flags == ["PER_HEAD", "V_IN_K"]]
            equal((mine, len(other)), ([], 1), "flags")
            rows = {row[0]: row[-2:] for row in table(stage.run("streams").out)[1:]}
            equal((rows[sid], rows[str(other[0])]), (["-", "no"], ["PER_HEAD,V_IN_K", "no"]), "table")
        finally:
            stage.do("extra", "0")

    def windows():
        equal([w for w in stage.tool("windows")["windows"] if w["stream"] == stage.stream], [], "windows before")
        stage.do("window", "3")
        try:
            window = stage.tool("windows", "--stream", sid)["windows"][0]
            check_record(window, keys["windows"])
            shape = {"length": TOKENS, "rows": 3, "max_rows": 4, "pins": True}
            equal({key: window[key] for key in shape}, shape, "window")
            assert 0 <= window["age_ns"] < 60 * 10**9, window["age_ns"]
            rows = table(stage.run("windows", "--stream", sid).out)
            equal((rows[0][2:5], rows[1][2:5]), (["LENGTH", "ROWS", "MAX"], [str(TOKENS), "3", "4"]), "table")
            doc = document(stage.run("promote", "--stream", sid, "--token", "1", "--json"), 1)
            equal((doc["errors"][0]["code"], doc["errors"][0]["status"]), ("EBUSY", "WINDOW"), "promote in a window")
        finally:
            stage.do("window", "0")
        equal(stage.tool("windows", "--stream", sid)["windows"], [], "windows behind")
        words = stage.tool("events", "--stream", sid, "--last", "1")["events"][0]["text"]
        assert "0 of 3 rows stay" in words, words

    def prefixes():

        stage.do("share", "9")
        try:
            shared = [p for p in stage.tool("prefixes")["prefixes"] if stage.stream in p["streams"]]
            equal(len(shared), 1, "prefixes of the stream")
            check_record(shared[0], keys["prefixes"])
            shape = {"tokens": 9, "begins_with": 0, "users": 2, "entries": 0, "sram_bytes": 0, "key": "0" * 32}
            equal({key: shared[0][key] for key in shape}, shape, "prefix")
            equal((len(shared[0]["streams"]), stage.stream in shared[0]["streams"]), (2, True), "who shares")
            rows = table(stage.run("prefixes").out)
            assert ["PREFIX", "TENANT", "TOKENS"] == rows[0][:3], rows[0]
            doc = document(stage.run("promote", "--stream", sid, "--token", "1", "--json"), 1)
            equal((doc["errors"][0]["code"], doc["errors"][0]["status"]), ("EBUSY", "SHARED"), "promote of a shared token")
            stage.tool("promote", "--stream", str(shared[0]["prefix"]), "--token", "1")
            equal(stage.tool("prefixes")["prefixes"][-1]["entries"], 1, "promoted through the prefix")
        finally:
            stage.do("share", "0")
        equal([p for p in stage.tool("prefixes")["prefixes"] if stage.stream in p["streams"]], [], "prefixes behind")

    def swapped():
        stage.do("swap", "1")
        try:
            out = stage.tool("streams", "--stream", sid)["streams"][0]
            equal((out["swapped"], out["length"], out["reserved_tokens"]), (True, TOKENS, 0), "a stream that is out")
            assert out["image_bytes"] > TOKENS * LAYERS * KV_HEADS * ROW_BYTES, out["image_bytes"]
            rows = table(stage.run("streams", "--stream", sid).out)
            equal((rows[0][-1], rows[1][-1]), ("SWAPPED", "yes"), "table")
            doc = document(stage.run("scores", "--stream", sid, "--json"), 1)
            equal(doc["errors"][0]["code"], "ENODATA", "scores of a stream that is out")
            assert "swapped out" in doc["errors"][0]["message"], doc["errors"][0]["message"]
        finally:
            stage.do("swap", "0")
        back = stage.tool("streams", "--stream", sid)["streams"][0]
        equal((back["swapped"], back["reserved_tokens"]), (False, 128), "back")

    def no_stream():
        for command in (["tags"], ["counters"], ["promote", "--token", "1"], ["evict", "--token", "1"], ["scores"],
                        ["contract", "--token", "1", "--dwell", "2"], ["verdicts"], ["profile"], ["map"],
                        ["place", "--policy", "1a"], ["config", "999999", "T_SINK"], ["config", "999999", "T_SINK=1"]):
            stream = [] if command[0] == "config" else ["--stream", "999999"]
            result = stage.run(*command, *stream, "--json")
            doc = document(result)
            if command == ["tags"] and result.code == 0:
                equal(doc["devices"][0]["tags"], [], "tags of no stream")
                continue
            equal((result.code, doc["errors"][0]["code"]), (1, "ENOENT"), str(result))
            assert "'sinkctl streams'" in doc["errors"][0]["message"], str(result)

    def promote_all():
        added = delta(stage, lambda: state.update(grant=promote(stage, "--token", "3")))
        grant = state["grant"]
        check_record(grant, keys["promote"])
        equal((grant["stream"], grant["token"], grant["layer_begin"], grant["layer_end"]), (stage.stream, 3, 0, LAYERS))
        equal((grant["heads"], grant["row_bytes"]), ([0, 1], ROW_BYTES), "heads and row")
        equal(grant["sram_bytes"], units(LAYERS * KV_HEADS * ROW_BYTES), "bytes granted")
        equal(added.get("PROMOTIONS"), 1, "PROMOTIONS")
        listed = tags(stage)
        equal([(t["token"], t["generation"]) for t in listed], [(3, grant["generation"])], "tags")
        check_record(listed[0], keys["tags"])

    def valid_after_barrier():
        stage.do("barrier")
        equal([t["state"] for t in tags(stage)], ["valid"], "state behind a barrier")
        now = counters(stage)
        equal((now["PROMOTIONS_VALID"], now["DMA_COPY"]), (1, LAYERS * KV_HEADS * ROW_BYTES), "the finished copy")

    def reads_move():
        added = delta(stage, lambda: stage.do("attend", "0"))
        equal(added["KV_SRAM_READ"], KV_HEADS * ROW_BYTES, "bytes of one token from SRAM")
        equal(added["KV_HBM_READ"], (TOKENS - 1) * KV_HEADS * ROW_BYTES, "bytes of the others from HBM")

    def exists():
        result = stage.run("promote", "--stream", sid, "--token", "3", "--layers", "1")
        fails(result, 1, "promote", "EEXIST", "EXISTS", "sinkctl tags")

    def table_is_json():
        grant = tags(stage)[0]
        rows = table(stage.run("tags", "--stream", sid).out)
        equal(rows[0], ["STREAM", "TOKEN", "LAYERS", "HEADS", "STATE", "SRAM", "GENERATION", "KIND", "CONTRACT", "AGE",
                        "EMA"], "heading")
        equal(rows[1][:5] + rows[1][-5:],
              [sid, "3", f"0-{LAYERS - 1}", "0-1", "valid", str(grant["generation"]), "entry", "no", "0", "0"], "row")

    def evict_it():
        added = delta(stage, lambda: equal(evict(stage, "--token", "3")["entries"], 1, "entries"))
        equal(added.get("EVICTIONS"), 1, "EVICTIONS")
        equal(tags(stage), [], "tags")
        added = delta(stage, lambda: stage.do("attend", "0"))
        assert "KV_SRAM_READ" not in added, "reads still go to SRAM"
        equal(added["KV_HBM_READ"], TOKENS * KV_HEADS * ROW_BYTES, "bytes from HBM")

    def nothing_to_evict():
        fails(stage.run("evict", "--stream", sid, "--token", "3"), 1, "evict", "ENOENT", "NOT_RESIDENT", "'sinkctl tags'")

    def parts():
        low = promote(stage, "--token", "5", "--layers", "0-1", "--heads", "1")
        high = promote(stage, "--token", "5", "--layers", "3", "--heads", "all")
        equal((low["layer_begin"], low["layer_end"], low["heads"], low["head_mask_hex"]),
              (0, 2, [1], "0x0000000000000002"), "first entry")
        equal((high["layer_begin"], high["layer_end"], high["heads"]), (3, 4, [0, 1]), "second entry")
        equal(low["sram_bytes"], units(2 * ROW_BYTES), "half the heads of half the layers")
        equal(len(tags(stage)), 2, "entries")
        equal(evict(stage, "--token", "5", "--layers", "3")["entries"], 1, "those within layer 3")
        equal([t["layer_begin"] for t in tags(stage)], [0], "what is left")
        promote(stage, "--token", "6")
        gone = evict(stage, "--token", "all")
        equal((gone["token"], gone["entries"]), (None, 2), "all")

    def beyond_the_stream():
        fails(stage.run("promote", "--stream", sid, "--token", "1", "--layers", "0-4"), 2, "--layers", "0 to 3")
        fails(stage.run("promote", "--stream", sid, "--token", "1", "--heads", "2"), 2, "--heads", "head 2", "0 to 1")
        fails(stage.run("promote", "--stream", sid, "--token", str(TOKENS)), 2, "--token", f"0 to {TOKENS - 1}")
        equal(tags(stage), [], "tags")

    def config(*words):
        return stage.tool("config", sid, *words)["parameters"]

    def budget():
        before = config("SRAM_BUDGET=256")[0]["previous_text"]
        added = delta(stage, lambda: state.update(
            result=stage.run("promote", "--stream", sid, "--token", "2", "--json")))
        error = document(state["result"], 1)["errors"][0]
        equal((error["code"], error["status"]), ("ENOSPC", "BUDGET"), "error")
        assert "raise SRAM_BUDGET" in error["message"], error
        equal(added.get("REFUSALS"), 1, "REFUSALS")
        equal(tags(stage), [], "tags")
        config(f"SRAM_BUDGET={before}")

    def config_round_trip():
        for text, value, number in (("0.25", 0x3e800000, 0.25), ("0.1", 0x3dcccccd, 0.1), ("0", 0, 0.0),
                                    ("3.4028235e38", 0x7f7fffff, 3.4028235e38), ("1e-45", 1, 1e-45)):
            done = config(f"t_sink={text}")[0]
            check_record(done, keys["config"])
            again = config("T_SINK")[0]
            check_record(again, keys["config"])
            equal((again["value"], again["hex"], again["float"]), (value, f"0x{value:08x}", number), text)
            equal((done["value"], done["float"], done["group"]), (value, number, None), text)
        equal(done["previous"], 0x7f7fffff, "previous")
        mode = config("SCORE_MODE=rel")[0]
        equal((mode["value"], mode["symbol"], mode["text"]), (2, "REL", "REL"), "SCORE_MODE")
        device = stage.tool("config", "device", "SCORE_MODE")["parameters"][0]
        equal((device["value"], device["stream"]), (1, None), "the device's default stays")
        config("SCORE_MODE=MEAN", "T_SINK=0.1")

    def config_texts():
        """What config prints is what it takes."""
        for name, texts in (("HEAD_MASK", ("0", "1", "0-1", "all")), ("LAYER_RANGE", ("1-2", "3-3", "all")),
                            ("SRAM_BUDGET", ("0", "256", "48K", "none")), ("PLACEMENT", ("OBSERVE", "OFF")),
                            ("TENANT_TAG", ("7", "tenant")), ("ALPHA", ("0.5", "0.9")), ("PRIORITY", ("255", "0")),
                            ("LAYER_WEIGHT", ("all:2.0", "all:1.0")), ("N_DWELL", ("3", "12")), ("COPY_DUE_NS", ("2800", "0"))):
            for text in texts:
                equal([p["text"] for p in config(f"{name}={text}")], [text], name)
                equal([p["text"] for p in config(name)], [text], name)

    def config_restricts():
        entry = config("LAYER_RANGE=1-2")[0]
        equal(entry["fields"], {"begin": 1, "end": 3}, "LAYER_RANGE")
        equal(stage.run("promote", "--stream", sid, "--token", "2", "--layers", "0").code, 1, "outside the range")
        equal(promote(stage, "--token", "2", "--layers", "1-2")["sram_bytes"], units(4 * ROW_BYTES), "inside")
        evict(stage, "--token", "2")
        config("LAYER_RANGE=all")

    def injected_failure():
        stage.do("deny", "5")
        try:
            result = stage.run("regs", "read", "T_SINK", "ID", "--json")
            doc = document(result, 1)
            equal([e["code"] for e in doc["errors"]], ["EIO", "EIO"], "errors")
            equal((doc["devices"][0]["registers"], doc["devices"][0]["status"]), ([], "failed"), "device")
            equal(document(stage.run("regs", "dump", "--json"), 1)["errors"][0]["code"], "EIO", "dump")
            stage.do("deny", "19")
            fails(stage.run("regs", "read", "ID"), 3, "ENODEV")
        finally:
            stage.do("allow")

    state = {}
    return [("streams shows the geometry", streams),
            ("streams shows the flags of a geometry", flags),
            ("windows shows an open replay window", windows),
            ("prefixes shows who shares what", prefixes),
            ("streams shows a stream that is swapped out", swapped),
            ("an unknown stream is ENOENT", no_stream),
            ("promote grants all layers and heads by default", promote_all),
            ("an entry is valid behind a barrier", valid_after_barrier),
            ("attention reads the promoted token from SRAM", reads_move),
            ("a second entry over the same rows is EXISTS", exists),
            ("the table of tags says what JSON says", table_is_json),
            ("evict changes tags, counters and reads", evict_it),
            ("evicting what is not resident is NOT_RESIDENT", nothing_to_evict),
            ("parts of a token: layers and heads", parts),
            ("layers, heads and tokens beyond the stream are refused", beyond_the_stream),
            ("a refusal for lack of budget is named and counted", budget),
            ("config: values come back as they were set", config_round_trip),
            ("config: what is printed is what is taken", config_texts),
            ("LAYER_RANGE restricts promote", config_restricts),
            ("a failing driver gives errors, not half a document", injected_failure)]
