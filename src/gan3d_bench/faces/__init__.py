"""Measuring faces with InsightFace's networks: detection, landmarks, alignment, identity.

Their weights are for non-commercial research only (docs/licences.md). Points are in pixels of
their image, (x, y), the centre of the first pixel being (0, 0).
"""
