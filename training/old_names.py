"""What settings are called elsewhere, in nanoGPT first of all, and what train.py calls them."""

# a name of TrainConfig, or the end of a sentence that begins with the old name
OLD_NAMES: dict[str, str] = {
    # nanoGPT's
    "dataset": "is data_dir here, a folder that a prepare.py wrote: data_dir=data/NAME",
    "always_save_checkpoint": "is not needed: each evaluation saves the run, and the model if it is better; keep=3 "
    "keeps the last three whatever they are",
    "lr_decay_iters": "is max_iters here: the rate falls until the run ends",
    "decay_lr": "is min_lr here: with min_lr as high as learning_rate the rate does not fall",
    "bias": "is not needed: a GPT-2 has biases",
    "backend": "is not needed: torchrun's processes talk by NCCL on GPUs and by gloo on CPUs",
    "wandb_run_name": "is out_dir here: a run has its folder's name",
    "vocab_size": "is the tokenizer's, which the data bring: prepare.py --tokenizer=train:8192",
    # other trainers'
    **dict.fromkeys(("lr", "max_lr", "peak_lr"), "learning_rate"),
    **dict.fromkeys(("max_steps", "num_steps", "steps", "iters", "num_iterations", "total_steps"), "max_iters"),
    **dict.fromkeys(("num_train_epochs", "num_epochs", "n_epochs", "max_epochs"), "epochs"),
    **dict.fromkeys(("warmup_steps", "num_warmup_steps", "lr_warmup_steps"), "warmup_iters"),
    "warmup_ratio": "is warmup_iters here: steps, not a share",
    **dict.fromkeys(("eval_steps", "eval_every", "evaluation_interval"), "eval_interval"),
    **dict.fromkeys(("logging_steps", "log_every", "print_every"), "log_interval"),
    **dict.fromkeys(
        ("save_steps", "save_interval", "save_every", "checkpoint_interval"),
        "is eval_interval here: each evaluation is followed by a save; between them save_minutes",
    ),
    **dict.fromkeys(("save_total_limit", "keep_checkpoints"), "keep"),
    **dict.fromkeys(
        ("per_device_train_batch_size", "train_batch_size", "micro_batch_size", "device_batch_size"), "batch_size"
    ),
    **dict.fromkeys(("grad_accum", "grad_accum_steps", "accumulation_steps"), "gradient_accumulation_steps"),
    **dict.fromkeys(
        ("max_seq_length", "max_seq_len", "max_length", "seq_len", "seq_length", "sequence_len", "cutoff_len"),
        "block_size",
    ),
    **dict.fromkeys(("context_length", "context_len", "n_ctx", "n_positions"), "block_size"),
    **dict.fromkeys(("max_grad_norm", "gradient_clip", "clip_grad", "gradient_clipping"), "grad_clip"),
    **dict.fromkeys(("model", "model_name", "model_name_or_path", "base_model", "pretrained"), "init_from"),
    **dict.fromkeys(("output_dir", "save_dir", "checkpoint_dir", "out"), "out_dir"),
    **dict.fromkeys(("data", "data_path", "train_file", "dataset_name", "dataset_dir"), "data_dir"),
    "overwrite_output_dir": "overwrite",
    **dict.fromkeys(("resume", "resume_from_checkpoint", "resume_from"), "is init_from=resume, with the run's out_dir"),
    **dict.fromkeys(("fp16", "bf16", "mixed_precision", "precision", "amp"), "dtype"),
    **dict.fromkeys(("lora_r", "lora", "use_lora"), "lora_rank"),
    "lora_alpha": "is not needed: it is twice lora_rank",
    **dict.fromkeys(
        ("lora_dropout", "lora_target_modules", "target_modules"),
        "is not needed: LoRA takes all matrices of the blocks, and dropout is the model's",
    ),
    "early_stopping_patience": "patience",
    **dict.fromkeys(("adam_beta1", "beta_1"), "beta1"),
    **dict.fromkeys(("adam_beta2", "beta_2"), "beta2"),
    **dict.fromkeys(("lr_scheduler_type", "lr_scheduler", "lr_schedule"), "schedule"),
    **dict.fromkeys(("n_layers", "num_layers", "num_hidden_layers", "depth"), "n_layer"),
    **dict.fromkeys(("n_heads", "num_heads", "num_attention_heads"), "n_head"),
    **dict.fromkeys(("hidden_size", "d_model", "n_embed", "embed_dim"), "n_embd"),
    **dict.fromkeys(("train_on_inputs", "train_on", "loss_on"), "learn"),
    **dict.fromkeys(("gradient_checkpoint", "activation_checkpointing", "use_checkpointing"), "gradient_checkpointing"),
    "report_to": "is wandb_log=true and tensorboard_log=true here",
    **dict.fromkeys(("wandb", "use_wandb"), "wandb_log"),
    **dict.fromkeys(("tensorboard", "use_tensorboard"), "tensorboard_log"),
    **dict.fromkeys(("wandb_run", "run_name", "exp_name", "experiment_name"), "is out_dir here: a run has its name"),
    **dict.fromkeys(("num_threads", "n_threads"), "threads"),
    "random_seed": "seed",
}
