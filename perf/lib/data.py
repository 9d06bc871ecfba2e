"""Input of the experiments: real public data when it is there, otherwise synthetic; always the same for
the same seed."""

import csv
import gzip
import io
import ipaddress
import pathlib
import random
import re

SEED = 20260501
PLAIN_PATH = re.compile(r"^/[A-Za-z0-9/_.~%-]{3,60}$")
LOG_LINE = re.compile(r'^(\S+) .*?"(?:GET|POST|HEAD) (\S+)')


def _text(path):
    with gzip.open(path, "rt", encoding="utf-8", errors="replace", newline="") as file:
        return file.read()


def _rows(path):
    return csv.reader(io.StringIO(_text(path)))


class Data:
    """`folder` holds ip/, domains/ and http/ as published with the project's data; None or missing:
    synthetic. `scale` shrinks the big tables for the small mode."""

    def __init__(self, folder, scale=1.0):
        needed = ["ip/asn-ipv4.csv.gz", "ip/asn-ipv6.csv.gz", "ip/threat-ipsum.csv.gz",
                  "domains/block-stevenblack.txt.gz", "domains/benign-alexa100k.csv.gz",
                  "http/access-apache.log.gz", "http/attack-scans.csv.gz"]
        self.folder = pathlib.Path(folder) if folder else None
        self.real = bool(folder) and all((self.folder / name).exists() for name in needed)
        self.scale = scale
        self.random = random.Random(SEED)
        self._cache = {}

    @property
    def origin(self):
        return "real (public data sets)" if self.real else "synthetic (seeded)"

    def count(self, full):
        return max(100, int(full * self.scale))

    def _once(self, name, make):
        if name not in self._cache:
            self._cache[name] = make()
        return self._cache[name]

    # Lists

    def asn_ranges(self):
        """(first, last, number) as text, text, int; IPv4 and IPv6."""
        def make():
            if self.real:
                rows = []
                for name in ("asn-ipv4", "asn-ipv6"):
                    rows += [(row[0], row[1], int(row[2]))
                             for row in _rows(self.folder / f"ip/{name}.csv.gz")
                             if row[2].isdigit()]
                return rows if self.scale == 1 else rows[:: max(1, int(1 / self.scale))]
            chance = random.Random(SEED + 1)
            rows = []
            at = int(ipaddress.ip_address("1.0.0.0"))
            for _ in range(self.count(400_000)):
                size = 1 << chance.choice([8, 8, 8, 9, 10, 11, 12, 13])
                rows.append((str(ipaddress.IPv4Address(at)),
                             str(ipaddress.IPv4Address(at + size - 1)), chance.randrange(1, 65000)))
                at += size + (chance.randrange(4) << 8)
                if at > 0xDFFFFFFF:
                    break
            at = int(ipaddress.ip_address("2001::"))
            for _ in range(self.count(100_000)):
                size = 1 << chance.choice([80, 80, 84, 88, 92, 96])
                at = (at + size - 1) // size * size
                rows.append((str(ipaddress.IPv6Address(at)),
                             str(ipaddress.IPv6Address(at + size - 1)), chance.randrange(1, 65000)))
                at += size * chance.randrange(1, 3)
            return rows
        return self._once("asn", make)

    def bad_addresses(self):
        def make():
            if self.real:
                rows = list(_rows(self.folder / "ip/threat-ipsum.csv.gz"))
                return [row[0] for row in rows if row[1].isdigit()][: self.count(90_000)]
            chance = random.Random(SEED + 2)
            return sorted({str(ipaddress.IPv4Address(chance.randrange(1 << 24, 0xDF << 24)))
                           for _ in range(self.count(90_000))})
        return self._once("bad_addresses", make)

    def bad_hosts(self):
        def make():
            if self.real:
                return _text(self.folder / "domains/block-stevenblack.txt.gz").split()[
                    : self.count(110_000)]
            chance = random.Random(SEED + 3)
            return [f"{self._word(chance)}-{i}.{self._word(chance)}.example"
                    for i in range(self.count(110_000))]
        return self._once("bad_hosts", make)

    def good_hosts(self):
        def make():
            if self.real:
                rows = _rows(self.folder / "domains/benign-alexa100k.csv.gz")
                return [row[1] for row in rows if row[0].isdigit()][:20_000]
            chance = random.Random(SEED + 4)
            return [f"{self._word(chance)}{i}.test" for i in range(20_000)]
        return self._once("good_hosts", make)

    def log(self):
        """(address, path) of real requests in their order."""
        def make():
            if self.real:
                lines = _text(self.folder / "http/access-apache.log.gz").splitlines()
                found = [LOG_LINE.match(line) for line in lines]
                pairs = [match.groups() for match in found if match]
                return [(ip, path) for ip, path in pairs if len(path) < 1500 and _is_ip(ip)]
            chance = random.Random(SEED + 5)
            return [(str(ipaddress.IPv4Address(chance.randrange(1 << 24, 0xDF << 24))),
                     "/" + "/".join(self._word(chance) for _ in range(chance.randrange(1, 6))))
                    for _ in range(8000)]
        return self._once("log", make)

    def paths(self):
        """Path literals for rules: of scanners and of ordinary requests, without duplicates."""
        def make():
            paths = {path.split("?")[0] for _, path in self.log()}
            if self.real:
                for row in _rows(self.folder / "http/attack-scans.csv.gz"):
                    match = LOG_LINE.match(row[-1])
                    if match:
                        paths.add(match.group(2).split("?")[0])
            else:
                chance = random.Random(SEED + 6)
                paths |= {f"/{self._word(chance)}/{self._word(chance)}.php" for _ in range(8000)}
            return sorted(path for path in paths if PLAIN_PATH.match(path) and "//" not in path)
        return self._once("paths", make)

    @staticmethod
    def _word(chance):
        return "".join(chance.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(chance.randrange(3, 10)))

    # Files

    def write_asn(self, path, skip=0):
        """`skip` leaves that many of the last rows out, which makes it another file."""
        rows = self.asn_ranges()
        with open(path, "w") as file:
            file.write("start,end,asn\n")
            file.writelines(f"{first},{last},{number}\n"
                            for first, last, number in rows[: len(rows) - skip])
        return len(rows) - skip

    def write_lines(self, path, lines):
        pathlib.Path(path).write_text("".join(f"{line}\n" for line in lines))

    def write_users(self, path, count, version=0):
        """Ids 1…count, of which the last tenth is of this version alone (its ids lie further out)."""
        stable = count - count // 10
        chance = random.Random(SEED + 7)
        with open(path, "w") as file:
            file.write("id,trust,age_days\n")
            for i in range(1, count + 1):
                identity = i if i <= stable else (version + 2) * 100_000_000 + i
                file.write(f"{identity},{chance.randrange(100) / 100:.2f},{chance.randrange(4000)}\n")
        return stable

    def write_tokens(self, path, count, version=0):
        with open(path, "w") as file:
            stable = count - count // 10
            for i in range(count):
                file.write(f"tok-{i * 2654435761 % (1 << 32):08x}-{0 if i < stable else version + 1}\n")
        return stable

    def write_requests(self, path, count, stable_users):
        """Real requests: address and path from the log, a host, an account of whom half exist."""
        chance = random.Random(SEED + 8)
        log, good, bad, listed = self.log(), self.good_hosts(), self.bad_hosts(), self.bad_addresses()
        with open(path, "w", newline="") as file:
            out = csv.writer(file, lineterminator="\n")
            out.writerow(["ip", "host", "path", "user"])
            for i in range(count):
                address, target = log[i % len(log)]
                if chance.random() < 0.03:
                    address = chance.choice(listed)
                host = chance.choice(bad) if chance.random() < 0.05 else chance.choice(good)
                if chance.random() < 0.5:
                    host = "www." + host
                out.writerow([address, host, target, chance.randrange(1, 2 * stable_users)])


def _is_ip(text):
    try:
        ipaddress.ip_address(text)
        return True
    except ValueError:
        return False
