"""The live vLLM engine with a RoPE variant inside: requests go in, answers come out, of one engine or many."""
