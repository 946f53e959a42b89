"""The gateway under load, beside the peers that are found: prints one JSON object.

    python benchmarks/gateway.py [--litellm DIR/bin/litellm] [--routellm DIR/bin/python] [--rounds 3] [--seconds 3]

Starts the gateway (one worker; keys, routing with the shipped router and the journal on), a stand-in upstream, the
load, and each peer in turn: LiteLLM's proxy with its logging off, RouteLLM's server with its random router, and nginx
where it is on the PATH. The gateway or peer runs on the first core, upstream and load on the second. Bodies are all
different. Every figure is the median of the rounds; targets take turns within a round.

`cpu_us` is time of the gateway's processes per request at 64 connections, the steady figure on a busy machine;
`ratio_*` compares requests/s at 64 connections, `cpu_ratio_*` processor time per request (the load, not nginx, is what
limits nginx's requests/s). `p50_ms` is latency at one connection over that of the stand-in asked directly. Streams are
64 at once, of 100 events 10 ms apart; the first comes after 20 ms, in which a real model would read the prompt.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
_TICKS = os.sysconf("SC_CLK_TCK")
_STAND_IN = """
import sys, uvloop, asyncio
from prefroute.serve.stand_in import StandIn
async def main(port, n_events, first_s, interval_s):
    await StandIn(n_events=int(n_events), first_s=float(first_s), interval_s=float(interval_s)).start(int(port))
    await asyncio.Event().wait()
uvloop.run(main(*sys.argv[1:]))
"""
_GATEWAY = """
server: {{host: 127.0.0.1, port: {port}}}
journal: {{url: "sqlite:///{folder}/journal.db"}}
models:
  big: {{base_url: "http://127.0.0.1:{upstream}/v1", usd_per_mtok_in: 10, usd_per_mtok_out: 30}}
  small: {{base_url: "http://127.0.0.1:{upstream}/v1", usd_per_mtok_in: 0.24, usd_per_mtok_out: 0.24}}
routes:
  auto: {{router: default, candidates: [big, small], policy: {{threshold: 0.5}}}}
"""
_LITELLM = """
model_list:
  - model_name: auto
    litellm_params: {{model: openai/any, api_base: "http://127.0.0.1:{upstream}/v1", api_key: none}}
litellm_settings: {{telemetry: false, set_verbose: false}}
general_settings: {{disable_spend_logs: true, disable_error_logs: true}}
"""
_NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log /dev/null;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream stand_in {{ server 127.0.0.1:{upstream}; keepalive 256; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://stand_in; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }}
  }}
}}
"""


@dataclass(slots=True)
class Target:
    """Something that requests are sent to."""

    name: str
    port: int
    process: subprocess.Popen[bytes] | None
    model: str = "auto"
    key: str = "none"
    startup_s: float = 0.0

    def cpu_s(self) -> float:
        """Processor time of its processes so far."""
        return sum(_cpu_s(pid) for pid in _family(self.process.pid)) if self.process else 0.0

    def rss_mb(self) -> float:
        """Resident memory of its processes, shared pages counted in part."""
        return sum(_pss_mb(pid) for pid in _family(self.process.pid)) if self.process else 0.0


def _family(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            yield from _family(int(child))


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _pss_mb(pid: int) -> float:
    found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _started(core: int, command: list[str], log: Path, env: Mapping[str, str] | None = None) -> Iterator[Any]:
    pinned = ["taskset", "-c", str(core), *command]
    with log.open("wb") as output:
        process = subprocess.Popen(
            pinned, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **(env or {})}, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def _stand_in(
    port: int, folder: Path, n_events: int = 12, first_s: float = 0.0, interval_s: float = 0.0
) -> Iterator[None]:
    command = [sys.executable, "-c", _STAND_IN, *map(str, (port, n_events, first_s, interval_s))]
    with _started(1, command, folder / "stand_in.log") as process:
        _wait(Target("stand-in", port, process), 20)
        yield


def _wait(target: Target, seconds: float) -> None:
    begin = time.perf_counter()
    body = {"model": target.model, "messages": [{"role": "user", "content": "ready?"}]}
    request = urllib.request.Request(
        f"http://127.0.0.1:{target.port}/v1/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json", "authorization": f"Bearer {target.key}"},
    )
    while time.perf_counter() - begin < seconds:
        if target.process is not None and target.process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                if b"choices" in answer.read():
                    target.startup_s = round(time.perf_counter() - begin, 2)
                    return
        except OSError:
            time.sleep(0.02)
    raise SystemExit(f"{target.name} did not answer within {seconds:g} s.")


def _gateway(stack: ExitStack, folder: Path, upstream: int) -> Target:
    port, config = _free_port(), folder / "gateway.yaml"
    config.write_text(_GATEWAY.format(port=port, folder=folder, upstream=upstream))
    program = [sys.executable, "-m", "prefroute"]
    made = subprocess.run([*program, "keys", "create", str(config), "load"], capture_output=True, check=True)
    key = re.search(rb"pr-\S+", made.stdout)
    assert key is not None, made.stdout
    process = stack.enter_context(_started(0, [*program, "serve", str(config)], folder / "gateway.log"))
    target = Target("prefroute", port, process, key=key[0].decode())
    _wait(target, 30)
    return target


def _litellm(stack: ExitStack, folder: Path, upstream: int, program: str) -> Target:
    port, config = _free_port(), folder / "litellm.yaml"
    config.write_text(_LITELLM.format(upstream=upstream))
    quiet = {
        "LITELLM_LOG": "ERROR",
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
    }
    command = [program, "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    target = Target("litellm", port, stack.enter_context(_started(0, command, folder / "litellm.log", quiet)))
    _wait(target, 180)
    return target


def _routellm(stack: ExitStack, folder: Path, upstream: int, python: str) -> Target:
    port = _free_port()
    command = [python, "-m", "routellm.openai_server", "--routers", "random", "--port", str(port), "--workers", "1"]
    command += ["--base-url", f"http://127.0.0.1:{upstream}/v1", "--api-key", "none"]
    command += ["--strong-model", "openai/big", "--weak-model", "openai/small"]
    env = {"OPENAI_API_KEY": "none", "HF_HUB_OFFLINE": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    process = stack.enter_context(_started(0, command, folder / "routellm.log", env))
    target = Target("routellm", port, process, model="router-random-0.5")
    _wait(target, 180)
    return target


def _nginx(stack: ExitStack, folder: Path, upstream: int, program: str) -> Target:
    port, config = _free_port(), folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, port=port, upstream=upstream))
    process = stack.enter_context(_started(0, [program, "-c", str(config)], folder / "nginx.log"))
    target = Target("nginx", port, process)
    _wait(target, 20)
    return target


def _load(target: Target, seed: int, **options: float) -> dict[str, float]:
    command = ["taskset", "-c", "1", sys.executable, str(_HERE / "gateway_load.py")]
    command += ["--port", str(target.port), "--model", target.model, "--key", target.key, "--seed", str(seed)]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    before = target.cpu_s()
    done = subprocess.run(command, capture_output=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    figures["cpu_us"] = 1e6 * (target.cpu_s() - before) / max(figures["requests"], 1)
    figures["cpu_us_per_event"] = 1e6 * (target.cpu_s() - before) / max(figures["events"], 1)
    return figures


def _median(rounds: list[dict[str, float]], name: str) -> float:
    return statistics.median(figures[name] for figures in rounds)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Everything, in one run."""
    full: dict[str, list[dict[str, float]]] = {}
    single: dict[str, list[dict[str, float]]] = {}
    streams: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder, upstream = Path(name), _free_port()
        with _stand_in(upstream, folder):
            ours = _gateway(stack, folder, upstream)
            targets = [ours, Target("direct", upstream, None)]
            if args.litellm:
                targets.append(_litellm(stack, folder, upstream, args.litellm))
            if args.routellm:
                targets.append(_routellm(stack, folder, upstream, args.routellm))
            if nginx := shutil.which("nginx"):
                targets.append(_nginx(stack, folder, upstream, nginx))
            rss_mb = ours.rss_mb()
            for turn in range(args.rounds):
                for target in targets:
                    full.setdefault(target.name, []).append(_load(target, turn, connections=64, seconds=args.seconds))
                for target in targets[:2]:
                    single.setdefault(target.name, []).append(_load(target, turn, connections=1, seconds=args.seconds))
        with _stand_in(upstream, folder, n_events=98, first_s=0.02, interval_s=0.01):
            for turn in range(args.rounds):
                for target in targets[:2]:
                    streams.setdefault(target.name, []).append(_load(target, turn, connections=64, streams=128))
        rss_end_mb = ours.rss_mb()
    result = _figures(full, single, streams)
    result |= {"startup_s": ours.startup_s, "rss_mb": round(rss_mb, 1), "rss_end_mb": round(rss_end_mb, 1)}
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    return result | {"machine": machine, "rounds": args.rounds, "targets": {k: v for k, v in full.items()}}


def _figures(
    full: Mapping[str, list[dict[str, float]]],
    single: Mapping[str, list[dict[str, float]]],
    streams: Mapping[str, list[dict[str, float]]],
) -> dict[str, Any]:
    def added(of: Mapping[str, list[dict[str, float]]], name: str) -> float:
        return round(_median(of["prefroute"], name) - _median(of["direct"], name), 3)

    ours = full["prefroute"]
    result: dict[str, Any] = {
        "rps": _median(ours, "rps"),
        "cpu_us": round(_median(ours, "cpu_us"), 1),
        "p50_ms": added(single, "p50_ms"),
        "ratio_litellm": None,
        "ratio_routellm": None,
        "ratio_nginx": None,
        "sse_cpu_us": round(_median(streams["prefroute"], "cpu_us_per_event"), 1),
        "ttfb_added_ms": added(streams, "ttfb_p50_ms"),
        "bad": sum(figures["bad"] for of in (full, single, streams) for figures in of["prefroute"]),
    }
    for peer in ("litellm", "routellm", "nginx"):
        if peer in full:
            result[f"ratio_{peer}"] = round(_median(ours, "rps") / _median(full[peer], "rps"), 3)
            result[f"cpu_ratio_{peer}"] = round(_median(full[peer], "cpu_us") / _median(ours, "cpu_us"), 3)
    return result


def main() -> None:
    """Read the command line, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--litellm", help="its program, in an environment that holds litellm[proxy]")
    parser.add_argument("--routellm", help="the Python of an environment that holds routellm[serve]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    print(json.dumps(measure(parser.parse_args())))


if __name__ == "__main__":
    main()
