# SPDX-License-Identifier: Apache-2.0
"""What would become of a packet: asked of the loaded programs, without a trace.

- `ask`: from a question to a journey
- `packet`: the described packet as a frame
- `loaded`: which programs are attached where
- `sandbox`: private copies of all that programs write
- `twin`: a second copy of a loaded program, over the sandbox, and its proof
- `rows`, `limits`: what a packet meets in the live maps
- `trial`: one program, one frame
- `kernel`: what the kernel's routes and neighbours say
- `journey`, `steps`, `changes`: from hook to hook, and what is told of it
- `text`: the journey, to be read
"""
