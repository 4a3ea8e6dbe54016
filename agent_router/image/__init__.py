"""Images onto disks and into directory trees: write.py and engine/ are the flow, all else is what it uses.

request.py      what was asked for
engine/         attempts.py tries source after source; transfer.py is one attempt, from open() to the verdict
sources/        where the published bytes come from
formats/        what unpacks them
destinations/   where the image goes
protocols.py    these parts as they see each other
"""
