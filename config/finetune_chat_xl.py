# GPT-2 XL (1.5B) on PersonaChat: the best listener of the family, on one GPU of 40 GB.
# First: python data/personachat/prepare.py
init_from = "gpt2-xl"
data_dir = "data/personachat"
out_dir = "out-chat-xl"

# Weights, gradients and AdamW's two moments in float32 take 16 bytes a parameter, 25 GB. Of the activations
# checkpointing keeps one block's; products are done in bfloat16.
dtype = "bfloat16"
gradient_checkpointing = True
block_size = 1024
batch_size = 2
gradient_accumulation_steps = 16  # 32k tokens a step, as for 124M

learning_rate = 1e-5  # the larger the model, the gentler
warmup_iters = 30
max_iters = 360  # two passes: XL learns small data by heart sooner
weight_decay = 0.01
beta2 = 0.999
dropout = 0.1
eval_interval = 60
eval_iters = 20
