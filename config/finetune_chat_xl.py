# GPT-2 XL (1.5B) on PersonaChat: the best listener of the family, in 16 GB, on a GPU or (slowly) on a CPU.
# First: python data/personachat/prepare.py
init_from = "gpt2-xl"
data_dir = "data/personachat"
out_dir = "out-chat-xl"

# The weights in float32 take 6.2 GB and stay as they are; LoRA trains 1% beside them, merged when the model is saved.
# Full fine-tuning (lora_rank = None, learning_rate = 1e-5) takes 25 GB; --shard spreads that over GPUs.
lora_rank = 16
gradient_checkpointing = True  # of the activations, one block's
block_size = 1024
batch_size = 1
gradient_accumulation_steps = 32  # 32k tokens a step, as for 124M

learning_rate = 2e-4  # LoRA's own matrices are new and take more than the weights would
min_lr = 0.0
warmup_iters = 30
max_iters = 360  # two passes: XL learns small data by heart sooner
weight_decay = 0.01
beta2 = 0.999
dropout = 0.1
eval_interval = 60
eval_iters = 20
