# GPT-2 124M on PersonaChat: a chat partner with a persona. On one GPU of 16 GB; Macs and CPUs: docs/training.md.
# First: python data/personachat/prepare.py
init_from = "gpt2"
data_dir = "data/personachat"
out_dir = "out-chat"

# 8 x 1,024 tokens a micro-batch fit in 16 GB in bfloat16; 4 of them make 32k tokens a step, about 130 conversations.
block_size = 1024  # all that GPT-2 has: no PersonaChat dialogue needs cutting
batch_size = 8
gradient_accumulation_steps = 4

# Fine-tuning: a rate far below pre-training's 6e-4, so that what GPT-2 knows stays; three passes over 6M tokens.
learning_rate = 5e-5
min_lr = 0.0  # the last steps settle what the noisy ones before them left
warmup_iters = 30
max_iters = 550
weight_decay = 0.01
beta2 = 0.999
dropout = 0.1  # GPT-2's own; the third pass over the data would be learned by heart without
eval_interval = 50
eval_iters = 20
log_interval = 5
