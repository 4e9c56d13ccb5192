"""C-SPANN once more, written from its description and without any part of the simulator, one vector at a time.

It is slow: no blocks, no matrix products of several queries, codes as bits and queries as bit planes. The tests compare
the simulator with it.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

ROOT = 1


@dataclass
class Code:
    """The stored form of one vector."""

    bits: NDArray[np.bool_]
    ones: int
    radius: float
    inverse: float
    centroid_product: float


@dataclass
class Entry:
    """A row or a child partition."""

    key: int
    vector: Vector
    code: Code | None


@dataclass
class Node:
    """A partition."""

    key: int
    level: int
    centroid: Vector
    parent: int
    entries: list[Entry] = field(default_factory=list)


@dataclass(frozen=True)
class Hit:
    """An entry that a search has found, with its estimated distance and its error bound."""

    distance: float
    bound: float
    entry: Entry
    node: Node


def cosine(first: Vector, second: Vector) -> float:
    return 1 - float(first @ second)


def normalized(vector: Vector) -> Vector:
    return vector / (np.linalg.norm(vector) or 1.0)


class LiteralIndex:
    """A cosine index over vectors of length one."""

    def __init__(self, dim: int, smallest: int, largest: int, build_beam: int, seed: int) -> None:
        self.dim, self.smallest, self.largest, self.build_beam = dim, smallest, largest, build_beam
        self.random = np.random.default_rng(seed)
        self.offsets = self.random.random(dim)
        self.nodes = {ROOT: Node(ROOT, 1, np.zeros(dim), 0)}
        self.next_key = ROOT + 1
        self.waiting: list[int] = []

    # Codes.

    def encode(self, vector: Vector, centroid: Vector) -> Code:
        residual = vector - centroid
        radius = float(np.linalg.norm(residual))
        bits = ~np.signbit(residual)
        direction = residual / radius if radius else residual
        product = float(sum(value if bit else -value for value, bit in zip(direction, bits, strict=True)))
        product /= math.sqrt(self.dim)
        return Code(bits, int(bits.sum()), radius, 1 / product if product else 0.0, float(vector @ centroid))

    def query_planes(self, query: Vector, centroid: Vector) -> tuple[float, float, float, list[NDArray[np.bool_]], int]:
        residual = query - centroid
        length = float(np.linalg.norm(residual))
        direction = residual / length
        lowest = float(direction.min())
        step = (float(direction.max()) - lowest) / 15
        integers = np.floor((direction - lowest) / step + self.offsets).astype(int)
        planes = [(integers >> place) & 1 == 1 for place in range(4)]
        return length, lowest, step, planes, int(integers.sum())

    def estimates(self, query: Vector, node: Node) -> list[Hit]:
        if node.key == ROOT:
            return [Hit(cosine(query, entry.vector), 0.0, entry, node) for entry in node.entries]
        if not node.entries:
            return []
        root = math.sqrt(self.dim)
        length, lowest, step, planes, total = self.query_planes(query, node.centroid)
        found = []
        for entry in node.entries:
            code = entry.code
            assert code is not None
            bit_product = sum(2**place * np.count_nonzero(code.bits & plane) for place, plane in enumerate(planes))
            estimate = (
                2 * step / root * bit_product + 2 * lowest / root * code.ones - step / root * total - root * lowest
            )
            estimate *= code.inverse
            product = length * code.radius * estimate + code.centroid_product
            product += float(query @ node.centroid) - float(node.centroid @ node.centroid)
            distance, bound = 1 - product, length * code.radius / root
            if distance < 0:
                distance, bound = 0.0, max(0.0, bound + distance)
            found.append(Hit(distance, bound, entry, node))
        return found

    # Searches.

    def scan(self, query: Vector, level: int, beam: int) -> tuple[list[Hit], int]:
        """Return the entries of the partitions of a level that a search reaches, and how many partitions it read."""
        current, nodes, read = self.nodes[ROOT].level, [self.nodes[ROOT]], 0
        while True:
            read += len(nodes)
            hits = sorted((hit for node in nodes for hit in self.estimates(query, node)), key=lambda hit: hit.distance)
            if current == level:
                return hits, read
            current -= 1
            width = max(1, math.ceil(beam / 2 ** (current - 1)))
            nodes = [self.nodes[hit.entry.key] for hit in hits[:width]]

    def search(self, query: Vector, k: int, beam: int) -> tuple[list[int], int]:
        """Return the k nearest rows, and how many partitions were read."""
        hits, read = self.scan(query, 1, beam)
        results = max(math.ceil(1.2 * k), 10)
        extras = int(math.log2(max(beam, 2)) * math.log2(max(k, 2)) * 50)
        chosen = hits[:results]
        if len(chosen) == results:
            limit = chosen[-1].distance + chosen[-1].bound
            for hit in hits[results : results + extras]:
                if hit.distance - hit.bound > limit:
                    break
                chosen.append(hit)
        chosen.sort(key=lambda hit: cosine(query, hit.entry.vector))
        return [hit.entry.key for hit in chosen[:k]], read

    # Changes.

    def insert(self, key: int, vector: Vector) -> None:
        while len((node := self.target(vector)).entries) >= self.largest:
            self.waiting.append(node.key)
            self.work()
        self.add(node, key, vector)

    def target(self, vector: Vector) -> Node:
        root = self.nodes[ROOT]
        if root.level == 1:
            return root
        hits, _ = self.scan(vector, 2, self.build_beam)
        return self.nodes[hits[0].entry.key]

    def work(self) -> None:
        while self.waiting:
            waiting = self.nodes.get(self.waiting.pop(0))
            if waiting is None:
                continue
            if len(waiting.entries) > (self.largest + self.smallest) // 2:
                self.split(waiting)
            elif waiting.key != ROOT and len(waiting.entries) < 1.5 * self.smallest:
                self.merge(waiting)

    def add(self, node: Node, key: int, vector: Vector) -> None:
        code = None if node.key == ROOT else self.encode(vector, node.centroid)
        node.entries.append(Entry(key, vector, code))
        if node.level > 1:
            self.nodes[key].parent = node.key

    def create(self, level: int, centroid: Vector, parent: int) -> Node:
        node = Node(self.next_key, level, centroid, parent)
        self.nodes[node.key] = node
        self.next_key += 1
        return node

    def divide(self, vectors: list[Vector]) -> tuple[Vector, Vector]:
        first = vectors[self.random.integers(len(vectors))]
        weights = np.array([cosine(first, vector) for vector in vectors])
        weights -= weights.min()
        second = vectors[self.random.choice(len(vectors), p=weights / weights.sum())]
        spread = float(np.var(np.stack(vectors), axis=0).mean())
        for _ in range(16):
            is_left = self.balanced(vectors, first, second)
            left = np.mean([vector for vector, chosen in zip(vectors, is_left, strict=True) if chosen], axis=0)
            right = np.mean([vector for vector, chosen in zip(vectors, is_left, strict=True) if not chosen], axis=0)
            shift = max(float(((left - first) ** 2).sum()), float(((right - second) ** 2).sum()))
            first, second = left, right
            if shift <= 1e-4 * spread:
                break
        return first, second

    def balanced(self, vectors: list[Vector], left: Vector, right: Vector) -> list[bool]:
        unit_left, unit_right = normalized(left), normalized(right)
        differences = [cosine(vector, unit_left) - cosine(vector, unit_right) for vector in vectors]
        order = sorted(range(len(vectors)), key=lambda number: differences[number])
        smallest = math.ceil(0.33 * len(vectors))
        on_left = sum(difference < 0 for difference in differences)
        on_left = min(max(on_left, smallest), len(vectors) - smallest)
        chosen = set(order[:on_left])
        return [number in chosen for number in range(len(vectors))]

    def split(self, source: Node) -> None:
        left_centroid, right_centroid = self.divide([entry.vector for entry in source.entries])
        left = self.create(source.level, left_centroid, source.parent or ROOT)
        right = self.create(source.level, right_centroid, source.parent or ROOT)
        if source.key == ROOT:
            self.share(source.entries, left, right)
            source.level += 1
            source.entries = []
            for target in (left, right):
                self.add(source, target.key, normalized(target.centroid))
            return
        parent = self.nodes[source.parent]
        for target in (left, right):
            self.add(parent, target.key, normalized(target.centroid))
        if len(parent.entries) > self.largest:
            self.waiting.append(parent.key)
        source.entries = [
            entry for entry in source.entries if not self.move_to_sibling(entry, source, parent, left, right)
        ]
        for target in (left, right):
            self.move_from_level(source, left, right, target)
        self.share(source.entries, left, right)
        parent.entries = [entry for entry in parent.entries if entry.key != source.key]
        del self.nodes[source.key]

    def share(self, entries: list[Entry], left: Node, right: Node) -> None:
        is_left = self.balanced([entry.vector for entry in entries], left.centroid, right.centroid)
        for entry, chosen in zip(entries, is_left, strict=True):
            self.add(left if chosen else right, entry.key, entry.vector)

    def move_to_sibling(self, entry: Entry, source: Node, parent: Node, left: Node, right: Node) -> bool:
        distances = {hit.entry.key: hit.distance for hit in self.estimates(entry.vector, parent)}
        nearest_target = min(distances[left.key], distances[right.key])
        siblings = {key: distances[key] for key in distances if key not in (source.key, left.key, right.key)}
        if not siblings or min(siblings.values()) >= nearest_target:
            return False
        sibling = self.nodes[min(siblings, key=lambda key: siblings[key])]
        self.add(sibling, entry.key, entry.vector)
        if len(sibling.entries) > self.largest:
            self.waiting.append(sibling.key)
        return True

    def move_from_level(self, source: Node, left: Node, right: Node, target: Node) -> None:
        hits, _ = self.scan(normalized(target.centroid), source.level, 2 * self.build_beam)
        usable = [hit for hit in hits if hit.node.key not in (source.key, left.key, right.key)]
        for hit in usable[: self.largest // 2]:
            if hit.distance < cosine(hit.entry.vector, normalized(hit.node.centroid)):
                hit.node.entries.remove(hit.entry)
                self.add(target, hit.entry.key, hit.entry.vector)
                if len(hit.node.entries) < self.smallest:
                    self.waiting.append(hit.node.key)

    def merge(self, source: Node) -> None:
        hits, _ = self.scan(normalized(source.centroid), source.level + 1, self.build_beam)
        if not [hit for hit in hits[:4] if hit.entry.key != source.key]:
            return
        parent = self.nodes[source.parent]
        parent.entries = [entry for entry in parent.entries if entry.key != source.key]
        del self.nodes[source.key]
        for entry in source.entries:
            nearest, _ = self.scan(entry.vector, source.level + 1, self.build_beam)
            self.add(self.nodes[nearest[0].entry.key], entry.key, entry.vector)
