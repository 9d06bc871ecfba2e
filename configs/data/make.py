#!/usr/bin/env python3
"""Makes the demo's data from the full data sets: `make.py [FOLDER]`, FOLDER as described in README.md.

The same input gives the same bytes (gzip without names or times), so a change of these files is a
change of their sources or of this script. Python's standard library only; a minute on one core.
"""
import bisect
import collections
import csv
import gzip
import hashlib
import io
import ipaddress
import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
SMALLEST_IPV4 = 2048           # ranges of fewer addresses are left out, unless a sample request uses them
WIDEST_IPV6_PREFIX = 32        # likewise: ranges smaller than a /32
NAME_CHARACTERS = 20           # names are cut: they are there to be read in `explain`
USERS = 10_000
TOKENS = 500
REQUESTS = 6_000


def rows_of(source, name):
    """The rows of a packed CSV as dictionaries."""
    with gzip.open(source / name, "rt", newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def lines_of(source, name):
    with gzip.open(source / name, "rt", encoding="utf-8", errors="replace") as file:
        yield from (line.rstrip("\n") for line in file)


def write(name, lines):
    """Packs lines reproducibly: no file name, no time in the gzip header."""
    data = "".join(line + "\n" for line in lines).encode()
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=9, mtime=0, filename="") as file:
        file.write(data)
    (HERE / name).write_bytes(packed.getvalue())
    print(f"{name:22} {len(lines):7,} lines {len(packed.getvalue()) / 1e3:8.1f} kB")


def cells(*values):
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue()


def draw(*key):
    """A number in [0, 2^64) that depends on the key only: the script's only randomness."""
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest(), "little")


def sample(values, count, purpose):
    """`count` of the values, chosen and ordered by a hash of each."""
    return sorted(values, key=lambda value: draw(purpose, value))[:count]


class Ranges:
    """Which value holds an address, among ranges that do not overlap (much)."""

    def __init__(self, ranges):
        self.ranges = sorted(ranges)
        self.starts = [item[0] for item in self.ranges]

    def find(self, address):
        at = bisect.bisect_right(self.starts, address) - 1
        if at >= 0 and self.ranges[at][1] >= address:
            return self.ranges[at]
        return None


def merge(ranges):
    """Sorted, disjoint (first, last) from any."""
    merged = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1][1] = max(merged[-1][1], last)
        else:
            merged.append([first, last])
    return merged


def covered(merged, starts, first, last):
    """How many addresses of [first, last] lie in the merged ranges."""
    total = 0
    at = max(bisect.bisect_right(starts, first) - 1, 0)
    while at < len(merged) and merged[at][0] <= last:
        total += max(0, min(last, merged[at][1]) - max(first, merged[at][0]) + 1)
        at += 1
    return total


# ---- the kind of a network --------------------------------------------------------------------

NOT_CLOUDS = {"apple-proxy", "protonvpn", "duckduckbot", "duckassistbot", "googlebot", "openai", "statuscake",
              "pingdom", "bing", "telegram", "perplexity", "github", "twitter", "facebook"}
KEYWORDS = [  # the first that matches wins; compared with the lower-case name
    ("education", r"universit|college|school|academi|education|\bedu\b|institute of tech|polytech|hochschule"
                  r"|research|\bnren\b|renater|\bgeant\b|janet|surf ?net|cern\b"),
    ("cloud", r"amazon|google|microsoft|azure|oracle|alibaba|aliyun|tencent|huawei cloud|digitalocean|linode"
              r"|akamai connected|vultr|choopa|constant company|cloudflare|fastly"),
    ("hosting", r"hosting|\bhost\b|host(?:er|ing|inger|gator|wind)|server|data ?cent(?:er|re)|\bdc\b|\bvps\b|colo(?:\b|cat|cross)"
                r"|dedicated|\bcdn\b|cloud|\bovh\b|hetzner|leaseweb|contabo|ionos|rackspace|godaddy|m247"),
    ("isp", r"airtel|telmex|bell canada|vimpelcom|megafon|\bmts\b|dacom|\bntt\b|kddi|softbank|\btot\b|cogent|level 3"
            r"|telecom|telekom|telefon|telecomunic|telco|\btel\b|broadband|cable|comcast|charter|verizon|at&t|mobile"
            r"|wireless|wi-?fi|fib(?:er|re|ra)|internet|\bisp\b|communicat|comunica|chinanet|unicom|vodafone|orange|provedor"
            r"|provider|network|\bnet(?:works?)?\b|net\b|online|link\b|satellite|cellular|gsm|dsl|kabel"),
]
KEYWORDS = [(kind, re.compile(pattern)) for kind, pattern in KEYWORDS]
STATES = re.compile(r"department|ministry|government|\barmy\b|headquarters|dod |federal|administration")
ACCESS_NETWORK = 1 << 20  # nobody but states and those who connect others has so many addresses


def kind_of(name, addresses, cloud_share, datacenter_share):
    """Derived, not measured: lists of cloud and data centre networks first, then words of the name."""
    lower = name.lower()
    if KEYWORDS[0][1].search(lower):
        return "education"
    if cloud_share >= 0.3:
        return "cloud"
    for kind, pattern in KEYWORDS[1:3]:
        if pattern.search(lower):
            return kind
    if datacenter_share >= 0.3:
        return "hosting"
    if STATES.search(lower):
        return "business"
    return "isp" if KEYWORDS[3][1].search(lower) or addresses >= ACCESS_NETWORK else "business"


def network_lists(source):
    """(cloud prefixes by provider, merged cloud ranges, merged data centre ranges) by IP version."""
    clouds = collections.defaultdict(list)
    for row in rows_of(source, "ip/cidr-cloud-providers.csv.gz"):
        clouds[row["provider"]].append(ipaddress.ip_network(row["cidr"]))
    merged_clouds, merged_centres = {}, {}
    centres = [ipaddress.ip_network(row["cidr"]) for row in rows_of(source, "ip/cidr-vpn-datacenter.csv.gz")
               if row["list"] == "datacenter"]
    for version in (4, 6):
        def span(networks):
            return merge((int(n[0]), int(n[-1])) for n in networks if n.version == version)
        merged_clouds[version] = span(n for provider, networks in clouds.items()
                                      if provider not in NOT_CLOUDS for n in networks)
        merged_centres[version] = span(centres)
    return clouds, merged_clouds, merged_centres


def read_asn(source, clouds, centres):
    """All ranges as (version, first, last, number, name, country, kind)."""
    ranges, shares = [], collections.defaultdict(lambda: [0, 0, 0])
    countries = {}
    for version in (4, 6):
        smallest_first = sorted(
            ((int(ipaddress.ip_address(r["start"])), int(ipaddress.ip_address(r["end"])), r["country"])
             for r in rows_of(source, f"ip/country-ipv{version}.csv.gz")), key=lambda r: r[1] - r[0])
        seen, flat = set(), []
        for first, last, country in smallest_first:
            if first not in seen:  # of ranges with one start the smallest says more
                seen.add(first)
                flat.append((first, last, country))
        countries[version] = Ranges(flat)
        cloud_starts = [r[0] for r in clouds[version]]
        centre_starts = [r[0] for r in centres[version]]
        for row in rows_of(source, f"ip/asn-ipv{version}.csv.gz"):
            first, last = (int(ipaddress.ip_address(row[key])) for key in ("start", "end"))
            ranges.append((version, first, last, int(row["asn"]), row["name"]))
            if version == 4:
                share = shares[int(row["asn"])]
                share[0] += last - first + 1
                share[1] += covered(clouds[4], cloud_starts, first, last)
                share[2] += covered(centres[4], centre_starts, first, last)
    kinds = {}
    for version, first, last, number, name in ranges:
        if number not in kinds:
            total, cloud, centre = shares[number]
            kinds[number] = kind_of(name, total, cloud / max(total, 1), centre / max(total, 1))
    usual = collections.defaultdict(collections.Counter)  # the country sets have gaps of their own
    for position, (version, first, last, number, name) in enumerate(ranges):
        holder = countries[version].find(first)
        country = holder[2] if holder else ""
        ranges[position] += (country,)
        if country:
            usual[number][country] += 1
    for version, first, last, number, name, country in ranges:
        if not country and usual[number]:
            country = max(sorted(usual[number]), key=usual[number].get)
        yield version, first, last, number, name, country, kinds[number]


# ---- the tables -------------------------------------------------------------------------------

def make_cloud(clouds):
    """cidr,provider: nested prefixes of one provider joined; a prefix of two belongs to the narrower use."""
    owner = {}
    for provider in sorted(clouds, key=lambda p: (-len(clouds[p]), p)):  # the shorter list says more: it comes last
        if provider == "apple-proxy":
            continue  # half of the bytes for one name
        for version in (4, 6):
            for network in ipaddress.collapse_addresses(n for n in clouds[provider] if n.version == version):
                owner[network] = provider
    ordered = sorted(owner, key=lambda n: (n.version, int(n.network_address), n.prefixlen))
    write("cloud.csv.gz", ["cidr,provider"] + [f"{network},{owner[network]}" for network in ordered])
    return ordered, owner


def make_threats(source):
    """Threat networks, scanners, VPN exits, command servers; returns samples of each for the requests."""
    ipsum = [r["ip"] for r in rows_of(source, "ip/threat-ipsum.csv.gz") if int(r["lists"]) >= 2]
    bad = sorted((ipaddress.ip_network(n) for n in ipsum), key=lambda n: (n.version, n))
    bad = list(ipaddress.collapse_addresses(bad))
    write("bad-nets.txt.gz", ["# addresses on two or more block lists: stamparm/ipsum (Unlicense)"] +
          [str(n.network_address if n.num_addresses == 1 else n) for n in bad])

    scanners = sorted({ipaddress.ip_network(r["cidr"]) for r in rows_of(source, "ip/cidr-mass-scanners.csv.gz")},
                      key=lambda n: (n.version, n))
    scanners = [n for v in (4, 6) for n in ipaddress.collapse_addresses(n for n in scanners if n.version == v)]
    write("scanners.txt.gz", ["# networks that scan the whole internet: stamparm/maltrail mass_scanner (MIT)"] +
          [str(n) for n in scanners])

    vpn = [ipaddress.ip_network(r["cidr"]) for r in rows_of(source, "ip/cidr-vpn-datacenter.csv.gz")
           if r["list"] == "vpn"]
    vpn = [n for v in (4, 6) for n in ipaddress.collapse_addresses(n for n in vpn if n.version == v)]
    write("vpn.txt.gz", ["# exits of VPN services: X4BNet/lists_vpn (MIT)"] + [str(n) for n in vpn])

    families = {"cobaltstrike", "metasploit", "sliver", "havoc", "mythic", "asyncrat", "qakbot", "trickbot",
                "emotet", "bianlian"}
    command = {}
    for row in rows_of(source, "ip/threat-maltrail-ioc.csv.gz"):
        if row["family"] in families:
            command.setdefault(row["ip"], (row["family"], row["port"]))
    command = {address: command[address] for address in sorted(command, key=ipaddress.ip_address)}
    kept = [a for a in command if command[a][0] != "asyncrat" or draw("c2", a) % 4 == 0]
    write("c2.csv.gz", ["ip,family"] + [f"{a},{command[a][0]}" for a in kept])
    return bad, scanners, vpn, kept


def make_domains(source):
    blocked = sorted(set(lines_of(source, "domains/block-stevenblack.txt.gz")) - {""})
    write("bad-hosts.txt.gz", ["# advertising, tracking and malware hosts: StevenBlack/hosts (MIT)"] + blocked)
    scams = sorted({r["domain"] for r in rows_of(source, "domains/block-categories.csv.gz")
                    if r["category"] in ("scam", "ransomware", "crypto")})
    write("scam-hosts.txt.gz", ["# scam, ransomware and crypto-mining: blocklistproject/Lists (Unlicense)"] + scams)
    disposable = sorted({r["domain"] for r in rows_of(source, "domains/disposable-email.csv.gz")
                         if r["source"] != "npm"})
    write("disposable.txt.gz", ["# disposable-email-domains/disposable-email-domains (CC0-1.0)"] + disposable)
    return blocked, scams, disposable


def make_accounts():
    """Synthetic on purpose: nobody's accounts. Trust is skewed to the middle, ages are long-tailed."""
    lines = ["id,trust,age_days,plan"]
    users = []
    for index in range(USERS):
        user = 1000 + index
        trust = sum(draw("trust", user, i) % 1000 for i in range(3)) / 3000
        if draw("abuser", user) % 50 == 0:
            trust *= 0.2
        age = int(3000 * (draw("age", user) % 10_000 / 10_000) ** 3)
        turn = draw("plan", user) % 100
        plan = "staff" if turn == 0 else "suspended" if turn == 1 else "business" if turn < 12 else \
            "paid" if turn < 40 else "free"
        lines.append(f"{user},{trust:.3f},{age},{plan}")
        users.append((user, trust, age, plan))
    write("users.csv.gz", lines)
    tokens = [f"demo-{draw('token', index):016x}" for index in range(TOKENS)]
    write("tokens.txt.gz", tokens)
    return users


# ---- sample requests --------------------------------------------------------------------------

PROBES = ["/wp-login.php", "/wp-admin/setup-config.php", "/xmlrpc.php", "/.env", "/.git/config", "/.aws/credentials",
          "/phpmyadmin/index.php", "/backup.sql", "/db.zip", "/site.bak", "/admin/config.php", "/cgi-bin/test.cgi",
          "/vendor/phpunit/phpunit/src/Util/PHP/eval-stdin.php", "/server-status", "/actuator/env", "/old/index.php"]
PAGES = ["/login", "/login/reset", "/signup", "/account", "/account/keys", "/checkout", "/export/orders.csv", "/api/v1/items",
         "/api/v1/search", "/admin", "/admin/users", "/robots.txt", "/healthz", "/.well-known/security.txt"]
SAFE_PATH = re.compile(r"^/[!#-+\--~]*$")  # printable, no space, comma or quote: readable by any CSV reader


def make_requests(source, bad, scanners, vpn, command, blocked, scams, clouds, owner, users, asn):
    """ip,host,path,user: log lines of a real site, mixed with addresses, names and paths of the tables."""
    log = []
    for line in lines_of(source, "http/access-apache.log.gz"):
        match = re.match(r'(\S+) .*?"(?:GET|HEAD|POST) (\S+) HTTP', line)
        if match and SAFE_PATH.match(match[2]) and len(match[2]) <= 300:
            log.append((match[1], match[2]))
    attacks = sorted({test["uri"] for test in map(json.loads, lines_of(source, "http/crs-tests.jsonl.gz"))
                      if test["uri"] and SAFE_PATH.match(test["uri"]) and len(test["uri"]) <= 200})
    benign = [r["domain"] for r in rows_of(source, "domains/benign-opendns.csv.gz") if r["list"] == "top"]
    paths = [path for _, path in log]

    def pick(values, *key):
        return values[draw(*key) % len(values)]

    def inside(network, key):
        return str(network[draw("host", key) % min(network.num_addresses, 1 << 32)])

    def user_for(key):
        return "" if draw("anonymous", key) % 2 else str(pick(users, "user", key)[0])

    requests = []
    for index, (address, path) in enumerate(sample(list(dict.fromkeys(log)), REQUESTS * 6 // 10, "log")):
        requests.append((address, "www.semicomplete.com", path, user_for(address)))

    wide = [r for r in asn if r[2] - r[1] >= SMALLEST_IPV4 - 1]
    left = REQUESTS - len(requests)
    for index in range(left):
        turn = draw("turn", index) % 100
        home = pick(wide, "range", index)
        address = ipaddress.ip_address(home[1] + draw("in", index) % (home[2] - home[1] + 1))
        if (home[0] == 6) != (address.version == 6):  # a number below 2^32 reads as IPv4
            address = ipaddress.IPv6Address(int(address))
        address, host, path = str(address), pick(benign, "host", index), pick(paths, "path", index)
        user = user_for(("other", index))
        if turn < 14:
            host = pick(blocked, "blocked", index)
            host = "cdn." + host if draw("below", index) % 3 == 0 else host
        elif turn < 18:
            host = pick(scams, "scam", index)
        elif turn < 26:
            address = inside(pick(bad, "bad", index), index)
        elif turn < 30:
            address = pick(command, "c2", index)
        elif turn < 34:
            address = inside(pick(scanners, "scanner", index), index)
        elif turn < 40:
            address = inside(pick(vpn, "vpn", index), index)
        elif turn < 48:
            address = inside(pick(clouds, "cloud", index), index)
        elif turn < 58:
            path = pick(PROBES, "probe", index)
        elif turn < 66:
            path = pick(attacks, "attack", index)
        elif turn < 84:
            path = pick(PAGES, "page", index)
            user = str(pick(users, "page user", index)[0]) if draw("known", index) % 4 else user
        elif turn < 87:
            address = f"10.{draw('a', index) % 256}.{draw('b', index) % 256}.{draw('c', index) % 256}"
        requests.append((address, host, path, user))
    ordered = sample(list(dict.fromkeys(requests)), REQUESTS, "order")
    write("requests.csv.gz", ["ip,host,path,user"] + [cells(*request) for request in ordered])
    return [request[0] for request in ordered]


def make_asn(asn, addresses):
    """The larger ranges, and every range that a sample request falls into."""
    used = collections.defaultdict(list)
    for address in map(ipaddress.ip_address, addresses):
        used[address.version].append(int(address))
    for values in used.values():
        values.sort()
    lines = ["start,end,asn,name,country,kind"]
    kinds = collections.Counter()
    for version, first, last, number, name, country, kind in sorted(asn, key=lambda r: r[:3]):
        at = bisect.bisect_left(used[version], first)
        if last - first + 1 < (SMALLEST_IPV4 if version == 4 else 1 << (128 - WIDEST_IPV6_PREFIX)) and \
                not (at < len(used[version]) and used[version][at] <= last):
            continue
        make = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
        short = " ".join(re.sub(r'[",\\]', " ", name).split())[:NAME_CHARACTERS].rstrip(" .-(")
        lines.append(cells(make(first), make(last), number, short, country, kind))
        kinds[kind] += 1
    write("asn.csv.gz", lines)
    print("   kinds:", ", ".join(f"{kind} {count:,}" for kind, count in kinds.most_common()))


def main():
    source = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parents[2] / "shared" / "data"
    if not (source / "ip" / "asn-ipv4.csv.gz").exists():
        sys.exit(f"make.py: no data sets in {source}; give their folder (see README.md)")
    clouds, merged_clouds, merged_centres = network_lists(source)
    asn = list(read_asn(source, merged_clouds, merged_centres))
    cloud_networks, owner = make_cloud(clouds)
    bad, scanners, vpn, command = make_threats(source)
    blocked, scams, _ = make_domains(source)
    users = make_accounts()
    addresses = make_requests(source, bad, scanners, vpn, command, blocked, scams, cloud_networks, owner, users, asn)
    make_asn(asn, addresses)
    write("crawlers.txt.gz", ["# crawler-user-agents (MIT): a regular expression a line"]
          + [row["pattern"] for row in rows_of(source, "ua/crawler-patterns.csv.gz")])
    total = sum(path.stat().st_size for path in HERE.glob("*.gz"))
    print(f"{'all':22} {total / 1e6:.2f} MB")
    if total > 5e6:
        sys.exit("make.py: more than the 5 MB that the repository has room for")


if __name__ == "__main__":
    main()
